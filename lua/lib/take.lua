-- take: choose the tasks that an engine takes.

local engines = require("lib.engines")
local held = require("lib.held")
local keys = require("lib.keys")
local line = require("lib.line")
local rare = require("lib.rare")
local work = require("lib.work")

-- Most tasks in one turn, so that no script blocks Redis for long.
local MOST = 200
-- Most of those that are not taken all at once, as tasks on the sheet are: each costs some
-- three times as much.
local SINGLY = 64
-- Most while dependents are still to be told, which costs the same turns time.
local FEWER = 32
-- Where so many wait, what they have is spread over very much memory, each page of which
-- is copied when written to while Redis rewrites its log: singly no more are taken.
local VERY_MANY, FEW = 10000, 16
-- And of so many an engine may take this part of what it wants, however many there are:
-- it is done in no time, and a turn for each few is dear.
local LITTLE = 1 / 8

-- Guided self-scheduling (Polychronopoulos & Kuck, IEEE Trans. Computers C-36, 1987): no
-- engine takes more than half its share of what is left, so that the last tasks spread
-- over all engines. Also returns how many of these it takes if it does so one by one.
local function share(queues, want, several)
  if want <= 1 then
    return want, want
  end
  local serving, left = 1, line.length(queues)
  for _, queue in ipairs(queues) do
    serving = math.max(serving, tonumber(redis.call("HGET", keys.queues, queue)) or 1)
    if several then
      left = left + (redis.call("HGET", keys.apart, queue) or 0)
    end
  end
  local fair, singly = math.floor(left / (2 * serving)), SINGLY
  if left > VERY_MANY then
    fair, singly = math.max(fair, math.floor(want * LITTLE)), FEW
  end
  want = math.max(1, math.min(want, fair))
  return want, math.min(want, singly)
end

local function pop(key, count)
  if count == 1 then
    return redis.call("ZPOPMIN", key)
  end
  return redis.call("ZPOPMIN", key, count)
end

-- Seldom: are there lines of classes that many engines must look for? The letter that says
-- so is cleared when no task stands in any.
local function has_classes(opened)
  if redis.call("EXISTS", keys.apart) == 1 then
    return true
  end
  rare.clear(opened, "c")
  return false
end

-- Has the engine only one line to take from, and may it take all tasks there?
local function is_simple(opened, engine)
  if opened.ties and opened.ties[engine.uuid] then
    engine.tied = "1"
  end
  return #engine.queues == 1 and not engine.tied
    and not rare.is(opened, "r") and not rare.is(opened, "p")
    and not (rare.is(opened, "c") and has_classes(opened))
end

-- The best that waits for the engine: flat id, score; or ids and rows of tasks that it
-- has taken already (`can_fold`: it may take tasks on the sheet in one go).
local function ready(opened, engine, nonce, want, simple, can_fold)
  if not simple and rare.is(opened, "p") then
    engine = require("lib.paused").without(opened, engine)
  end
  local singly
  want, singly = share(engine.queues, want, not simple)
  if not simple then
    return require("lib.pick").pop(opened, engine, singly)
  end
  local key = keys.ready(engine.queues[1])
  local taken = can_fold and want > 1
    and work.start_folded(opened, engine, nonce, key, want)
  if taken then
    return {}, taken
  end
  return pop(key, singly)
end

-- Does anything wait for the engine?
local function any(opened, engine)
  if is_simple(opened, engine) then
    return redis.call("EXISTS", keys.ready(engine.queues[1])) == 1
  end
  if rare.is(opened, "p") then
    engine = require("lib.paused").without(opened, engine)
  end
  return require("lib.pick").any(opened, engine)
end

-- How many this engine may take now.
local function allowance(opened, engine, want)
  want = engine.leaving and 0 or math.min(want, rare.is(opened, "u") and FEWER or MOST)
  if opened.hwm > 0 then
    want = math.min(want, opened.hwm - held.count(engine.uuid))
  end
  return math.max(0, want)
end

-- Seldom: take what was placed on an engine, at most `count`, flat: id, score. Tasks of
-- paused queues go back to their lines: all of them, as nobody would tell the engine
-- later.
local function placed_on(opened, uuid, count)
  if not rare.is(opened, "p") then
    return pop(keys.engine(uuid, "assigned"), count)
  end
  local paused, placed = require("lib.paused"), {}
  while #placed < 2 * count do
    local back, kept = require("lib.place").give_back(uuid, count - #placed / 2, function(id)
      return paused.is(opened, redis.call("HGET", keys.task(id), "queue") or "default")
    end)
    for at = 1, #back, 2 do
      require("lib.strays").note(opened, back[at], back[at + 1])
    end
    for _, value in ipairs(kept) do
      placed[#placed + 1] = value
    end
    if #back == 0 then
      break
    end
  end
  return placed
end

-- The engine takes what was placed on it, then the best it may have, and what waits only
-- for these (lib/along.lua). Returns the reply:
-- flat, as lib/work.lua describes tasks, or a list of ids and one of rows.
local function tasks(opened, engine, nonce, want)
  want = allowance(opened, engine, want)
  if want == 0 then
    return {}
  end
  local most = math.min(want, SINGLY)
  -- Usually an idle engine had its task pushed to it.
  local placed = rare.is(opened, "a") and placed_on(opened, engine.uuid, most) or {}
  if #placed > 0 then
    want = most - #placed / 2
  end
  local popped, taken = {}, nil
  local simple = is_simple(opened, engine)
  if want > 0 then
    popped, taken = ready(opened, engine, nonce, want, simple, #placed == 0)
  end
  if taken then
    opened.took = taken[1][1]
    engines.use(engine)
    return taken
  end
  if #placed == 0 and #popped == 0 then
    return {}
  end
  opened.took = popped[1]
  engines.use(engine)
  -- From several lines, tasks that the engine may take could be overtaken.
  local more = simple and not opened.is_earlier and most - (#placed + #popped) / 2 or 0
  return work.start(opened, engine, nonce, placed, popped, more)
end

return {
  any = any,
  tasks = tasks,
}
