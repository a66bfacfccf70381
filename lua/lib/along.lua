-- along: tasks that an engine takes along with the only one that they wait for.
--
-- In a chain, what becomes ready usually goes to the engine that ended the task before
-- it. To take it only then costs a turn for each link. So who takes a task also takes its
-- only dependent, if that waits for nothing else and would be the next of its line, and
-- the dependent of that. The engine runs each only if all before it have succeeded, and
-- gives the others back.
--
-- If the machine is lost, nobody knows which of them had begun, and each has used a try. So
-- only a task with at least as many retries is taken along: none fails that would have
-- waited.
--
-- Such a task is running while what it waits for has not ended, as `na` in its record
-- says; that it was taken so, the engine's entry says (lib/held.lua).

local keys = require("lib.keys")

-- Most in one turn: each costs it two or three times what a task of a large map does.
local MOST = 48

-- What a task that waits for one success, and for nothing else, has in `na`.
local LAST = "as:1!"
-- The letter of a dependent that has the task in its `after`: "a".
local AFTER = 97

-- The first dependent of a task, its score, and whether it is the only one and waits for
-- the task to end.
local function dependent(id)
  local found = redis.call("ZRANGE", keys.task(id, "dependents"), 0, 1, "WITHSCORES")
  if found[2] then
    local only = not found[3] and string.byte(found[1]) == AFTER
    return string.sub(found[1], 2), tonumber(found[2]), only
  end
end

-- What an engine needs of a task, as lib/work.lua reads it, and its retries, if it waits
-- for one more success, runs in this queue and has so many retries at least. Somebody who
-- listens must not hear of its start early.
local function read(id, queue, retries)
  local f = redis.call("HMGET", keys.task(id),
    "state", "na", "queue", "fn", "args", "marks", "retries")
  local own = tonumber(f[7] or 0)
  if f[1] == "waiting" and f[2] == LAST and (f[3] or "default") == queue and own >= retries
    and not (f[6] and string.find(f[6], "l", 1, true)) then
    return { f[4], f[5], f[6] }, own
  end
end

local function retries_of(id)
  return tonumber(redis.call("HGET", keys.task(id), "retries") or 0)
end

-- The score of the first in this line: none behind it may overtake it.
local function head_of(queue)
  local head = redis.call("ZRANGE", keys.ready(queue), 0, 0, "WITHSCORES")
  return tonumber(head[2] or math.huge)
end

-- Choose at most `count` to take along with tasks of this queue that have dependents:
-- flat id, score, in order; the list of results is alike. Adds to the first, and what was
-- read of each to `opened.written`. Each comes behind what it waits for, also in order of
-- scores.
local function choose(opened, queue, parents, count)
  local chosen, at, head, last = {}, 1, head_of(queue), 2 * math.min(MOST, count)
  local known = {}
  opened.written = opened.written or {}
  while parents[at] and #chosen < last do
    local id, score, only = dependent(parents[at])
    if id and score >= head then
      -- Those of the next are even further behind, as a rule.
      break
    end
    local found, retries
    if only and score > tonumber(parents[at + 1]) then
      found, retries = read(id, queue, known[at] or retries_of(parents[at]))
    end
    if found then
      local text = string.format("%.0f", score)
      opened.written[id] = found
      chosen[#chosen + 1], chosen[#chosen + 2] = id, text
      if found[3] and string.find(found[3], "d", 1, true) then
        known[#parents + 1] = retries
        parents[#parents + 1], parents[#parents + 2] = id, text
      end
    end
    at = at + 2
  end
  return chosen
end

-- They no longer wait in the index.
local function leave(chosen)
  local ids = {}
  for at = 1, #chosen, 2 do
    ids[#ids + 1] = chosen[at]
  end
  redis.call("ZREM", keys.waiting, unpack(ids))
end

-- Seldom: what a running task waits for has failed, and it cannot have begun. Its engine
-- no longer holds it.
local function part(opened, task)
  local engines = require("lib.engines")
  local uuid = engines.uuid_of(task.engine)
  require("lib.held").remove(uuid, { task.id })
  local engine = engines.find(uuid)
  if engine and uuid ~= opened.reporter then
    engines.show(opened, engine)
    -- What came into its line before, it could not be given.
    engines.call(opened, engine, function()
      return not engine.leaving
    end)
  end
  if engine then
    engines.tell_drained(opened, engine)
  end
end

return {
  choose = choose,
  leave = leave,
  part = part,
}
