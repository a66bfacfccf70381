-- lines: assign tasks from several lines of a queue, in their common order.

local class = require("lib.class")
local keys = require("lib.keys")
local place = require("lib.place")
local rare = require("lib.rare")
local record = require("lib.record")

-- Tasks ahead of those that became ready that are placed along with them.
local MORE = 100

-- The class where a ready task belongs. It is not that of its line if an engine has
-- refused its function since.
local function class_of(opened, id)
  local f = record.get(id, "fn", "targets", "place", "not")
  return class.of_task(opened, {
    targets = record.part(id, "targets", f[2]), place = f[3] or nil,
    ["not"] = f[4] or nil, fn = f[1],
  })
end

-- The best of a line, behind those passed over.
local function look(opened, queue, one)
  local head = redis.call("ZRANGE", keys.ready(queue, one.class), one.passed, one.passed,
    "WITHSCORES")
  one.id, one.score, one.right = head[1], head[2], one.class
  if head[1] and rare.is(opened, "r") then
    one.right = class_of(opened, head[1])
  end
end

local function leave(queue, one)
  redis.call("ZREM", keys.ready(queue, one.class), one.id)
  if one.class ~= "" then
    class.left(queue, 1)
  end
end

-- Move a task to the line of its class.
local function move(opened, queue, one)
  leave(queue, one)
  local stands = class.line_of(queue, one.right)
  redis.call("HSET", record.own(one.id), "class", stands)
  class.add(opened, queue, stands, { one.score, one.id })
end

local function best_of(lines)
  local best
  for _, one in ipairs(lines) do
    if one.id and not (best and tonumber(best.score) <= tonumber(one.score)) then
      best = one
    end
  end
  return best
end

local function open(opened, queue, classes)
  local lines, seen = {}, {}
  local function add(name)
    if not seen[name] then
      seen[name] = true
      lines[#lines + 1] = { class = name, passed = 0 }
      look(opened, queue, lines[#lines])
    end
  end
  add("")
  for _, name in ipairs(classes) do
    add(name)
  end
  return lines
end

-- Give the best of these lines, and of the line without a class, to engines with room, if
-- there are any: at most `count`, and some that are ahead of them.
local function advance(opened, queue, count, classes)
  local lines, left = open(opened, queue, classes), count + MORE
  while left > 0 and redis.call("EXISTS", keys.free(queue)) == 1 do
    local best = best_of(lines)
    if not best then
      return
    end
    left = left - 1
    if place.assign(opened, queue, best.id, best.score, best.right) then
      leave(queue, best)
      look(opened, queue, best)
    elseif best.right ~= best.class and class.is_possible(queue, best.right) then
      move(opened, queue, best)
      look(opened, queue, best)
    elseif opened.spared and opened.spared[best.id] then
      best.passed = best.passed + 1
      look(opened, queue, best)
    else
      -- No engine with room may take it, nor what is behind it.
      best.id = nil
    end
  end
end

-- Offer these tasks, which have just entered the line of those in no class, each to the
-- engines that may take it: flat score, id.
local function offer(opened, queue, entries)
  for at = 1, math.min(#entries, 2 * MORE), 2 do
    local score, id = entries[at], entries[at + 1]
    if redis.call("EXISTS", keys.free(queue)) == 0 then
      return
    end
    -- Somebody may have taken it.
    local stands = redis.call("ZSCORE", keys.ready(queue, class.PICKY), id)
    if stands and place.assign(opened, queue, id, score, class_of(opened, id)) then
      leave(queue, { class = class.PICKY, id = id })
    end
  end
end

return {
  advance = advance,
  offer = offer,
}
