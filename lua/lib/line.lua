-- line: the ready tasks of a class, by priority, then order of submission.
--
-- MOVES    new>ready

local batches = require("lib.batches")
local keys = require("lib.keys")
local place = require("lib.place")
local states = require("lib.states")

-- Scores order by priority first. 2^42 submissions lie between two priorities,
-- and 1000 of them stay below 2^53, where doubles are exact.
local PRIORITY = 4398046511104

-- As text: "%d" is much faster than what Redis makes of a number.
local function score(priority, sequence)
  return string.format("%d", sequence - priority * PRIORITY)
end

-- Seldom: tasks of no class that stand before this place get engines first, if there are any.
local function let_pass(opened, queue, before)
  local key, free = keys.ready(queue), keys.free(queue)
  while redis.call("EXISTS", free) == 1 do
    local head = redis.call("ZRANGE", key, 0, 0, "WITHSCORES")
    if not head[1] or tonumber(head[2]) >= before
      or not place.assign(opened, queue, head[1], head[2], "") then
      return
    end
    redis.call("ZREM", key, head[1])
  end
end

-- The best `count` of the line go to engines with room, if there are any. `class`
-- is "" but for lines of tasks that not every engine may take.
local function advance(opened, queue, count, class)
  local left, key = count, keys.ready(queue, class)
  while left > 0 and redis.call("EXISTS", keys.free(queue)) == 1 do
    if class ~= "" then
      local head = redis.call("ZRANGE", key, 0, 0, "WITHSCORES")
      let_pass(opened, queue, tonumber(head[2] or 0))
    end
    local head = redis.call("ZPOPMIN", key)
    if not head[1] then
      return
    end
    if not place.assign(opened, queue, head[1], head[2], class) then
      redis.call("ZADD", key, head[2], head[1])
      return
    end
    if class ~= "" then
      require("lib.class").left(queue, 1)
    end
    left = left - 1
  end
end

-- New records, already written, get their place: on idle engines as far as
-- there are any, else in the line. `entries` is flat: score, id, score, id ...
local function enter(opened, queue, entries)
  states.check("new", "ready")
  if redis.call("EXISTS", keys.ready(queue)) == 1 then
    -- Some wait already (a busy engine with room has not come for them): the
    -- new ones must not overtake them.
    batches.zadd(keys.ready(queue), entries)
    advance(opened, queue, #entries / 2, "")
    return
  end
  local at = 1
  while at < #entries do
    if not place.assign(opened, queue, entries[at + 1], entries[at], "") then
      break
    end
    at = at + 2
  end
  if at > 1 then
    entries = { unpack(entries, at, #entries) }
  end
  batches.zadd(keys.ready(queue), entries)
end

-- How many wait in these queues.
local function length(queues)
  local sum = 0
  for _, queue in ipairs(queues) do
    sum = sum + redis.call("ZCARD", keys.ready(queue))
  end
  return sum
end

return {
  score = score,
  advance = advance,
  enter = enter,
  length = length,
}
