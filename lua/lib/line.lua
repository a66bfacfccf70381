-- line: the ready tasks of a class, by priority, then order of submission.
--
-- MOVES    new>ready

local batches = require("lib.batches")
local keys = require("lib.keys")
local place = require("lib.place")
local states = require("lib.states")

-- Scores order by priority first. Priorities are 2^42 submissions apart, and 1000 of them
-- stay below 2^53, where doubles are exact.
local PRIORITY = 4398046511104

-- The score as a number; that of the n-th task of a slice is n more.
local function base(priority, sequence)
  return sequence - priority * PRIORITY
end

-- As text: "%d" is much faster than Redis's own conversion of a number.
local function score(priority, sequence)
  return string.format("%d", base(priority, sequence))
end

-- A new record is ready; it gets its place next.
local function admit()
  states.check("new", "ready")
end

-- A queue is known while it has engines or a line: this may be its first.
local function know(queue)
  redis.call("HSETNX", keys.queues, queue, "0")
end

-- Put one task into a line, the short way.
local function append(queue, at, id)
  know(queue)
  redis.call("ZADD", keys.ready(queue), at, id)
end

-- Give new records, already written, their place: on idle engines as far as there are
-- any, else in the line. `entries` is flat: score, id, score, id ...
local function enter(opened, queue, entries)
  admit()
  if redis.call("EXISTS", keys.ready(queue)) == 1 then
    -- Some wait already (a busy engine with room has not come for them): the
    -- new ones must not overtake them.
    batches.zadd(keys.ready(queue), entries)
    if opened.rare and require("lib.rare").is(opened, "r") then
      require("lib.lines").advance(opened, queue, #entries / 2, { "" })
    else
      require("lib.plain").advance(opened, queue, #entries / 2)
    end
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
  if #entries > 0 then
    know(queue)
    batches.zadd(keys.ready(queue), entries)
  end
end

-- How many tasks wait in the lines of these queues.
local function length(queues)
  local sum = 0
  for _, queue in ipairs(queues) do
    sum = sum + redis.call("ZCARD", keys.ready(queue))
  end
  return sum
end

return {
  base = base,
  score = score,
  admit = admit,
  append = append,
  enter = enter,
  length = length,
}
