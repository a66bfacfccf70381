-- lose: an engine is gone; return what it had, or count it as lost.

local again = require("lib.again")
local cascade = require("lib.cascade")
local class = require("lib.class")
local engines = require("lib.engines")
local held = require("lib.held")
local keys = require("lib.keys")
local place = require("lib.place")
local rare = require("lib.rare")
local record = require("lib.record")
local report = require("lib.report")
local settle = require("lib.settle")
local story = require("lib.story")

-- The task that still lies in the engine's bell: only the engine takes it from there, so
-- it has not begun, unless the engine has asked for the turn that brought it.
local function rung(engine)
  for _, ring in ipairs(redis.call("LRANGE", keys.engine(engine.uuid, "bell"), 0, -1)) do
    local nonce, id = string.match(ring, "^([^\n]+)\n([^\n]+)\n")
    if nonce and nonce == engine.nonce
      and redis.call("HGET", keys.engine(engine.uuid), "asked") ~= nonce then
      return id
    end
  end
end

-- Did this task print what its supervisor saw?
local function is_said(last, one)
  return last and last.id == one.id and last.token == one.token
end

-- Separate what the engine holds into what counts as lost and what had not begun. If it
-- turns out to be alive before all of it is moved, it must not have a task that was taken
-- along without what that waits for.
local function part(opened, engine, begun, reason, count, last)
  local uuid, waiting = engine.uuid, rung(engine)
  local lost, unbegun = {}, {}
  local all, ids = held.last(uuid, count), {}
  for number, one in ipairs(all) do
    ids[number] = one.id
  end
  record.read_ahead(ids)
  for _, one in ipairs(all) do
    local id = one.id
    local folded = record.is_begun(id)
    local f = folded and { "running" } or record.get(id, "state", "marks")
    local outcome = {
      id = id, token = one.token, score = one.score, marks = f[2] or nil, reason = reason,
      folded = folded,
    }
    if f[1] ~= "running" then
      held.remove(uuid, { id })
    elseif begun and not begun[id] or id == waiting then
      outcome.kind = "unbegun"
      unbegun[#unbegun + 1] = outcome
    else
      if is_said(last, one) then
        outcome.at, outcome.count = last.at, last.count
      end
      outcome.kind = "lost"
      lost[#lost + 1] = outcome
      story.tell(opened, "lost", "task", id, "engine", uuid, "why", reason)
    end
  end
  return lost, unbegun, #all
end

-- Nothing may be placed on an engine while it is taken apart, nor wait for it.
local function hide(engine)
  redis.call("HSET", keys.engine(engine.uuid), "leaving", 1)
  for _, queue in ipairs(engine.queues) do
    redis.call("ZREM", keys.free(queue), engine.uuid)
  end
  redis.call("ZREM", keys.labels, engine.uuid)
  -- It may be alive after all, and has to know by then what waits for it.
  redis.call("ZADD", keys.hidden, engine.id, engine.uuid)
  engine.leaving = "1"
end

-- If no engine of the class is left alive, look at its tasks again, at most `budget`.
-- Returns how many were looked at, and whether none is left.
local function release_class(opened, ending, queue, name, budget)
  if class.is_possible(queue, name) then
    return 0, true
  end
  local count = again.reseat(opened, ending, queue, name, budget)
  return count, redis.call("EXISTS", keys.ready(queue, name)) == 0
end

-- Tasks that wait for this engine and few others. Returns how many were looked at.
local function release_tied(opened, ending, uuid, budget)
  local classes, done = keys.engine(uuid, "classes"), 0
  while done < budget do
    local first = redis.call("ZRANGE", classes, 0, 0)[1]
    if not first then
      break
    end
    local queue, name = string.match(first, "^([^:]+):(.*)$")
    local count, all = release_class(opened, ending, queue, name, budget - done)
    done = done + math.max(1, count)
    if all then
      redis.call("ZREM", classes, first)
    end
  end
  return done
end

-- Likewise for this engine and many others.
local function release_shared(opened, ending, engine, budget)
  local done = 0
  for _, queue in ipairs(engine.queues) do
    for _, name in ipairs(redis.call("ZRANGE", keys.classes(queue), 0, class.MOST_CLASSES)) do
      -- Other classes did not lose an engine.
      if done < budget and class.admits(name, tonumber(engine.id)) then
        local count, all = release_class(opened, ending, queue, name, budget - done)
        done = done + count
        if all and count > 0 then
          redis.call("ZREM", keys.classes(queue), name)
        end
      end
    end
  end
  return done
end

-- Lose at most `budget` of an engine's tasks, and the engine along with the last. `begun`
-- is the set of ids it had begun, if known (a supervisor saw it die), or nil if
-- everything taken counts as begun (a machine is lost); but not what is still in its
-- bell. The verdict is "engine_lost", or
-- "time_limit" if it was killed for that. `last` is what one of them printed last, and
-- where in ARGV, if its supervisor saw. Returns how many tasks were moved and whether the
-- engine is gone. The caller offers what has become ready (lib/hold.lua).
local function lose_engine(opened, engine, begun, reason, budget, verdict, last)
  local uuid = engine.uuid
  hide(engine)
  opened.releases = true
  local ending = settle.begin(opened)
  local placed = place.give_back(uuid, budget)
  local moved = #placed / 2
  local back = {}
  if moved < budget then
    local lost, unbegun, count = part(opened, engine, begun, reason, budget - moved, last)
    back = report.apply(opened, ending, engine, unbegun)
    for _, task in ipairs(report.apply(opened, ending, engine, lost, verdict)) do
      back[#back + 1] = task
    end
    moved = moved + count
    if count == 0 then
      -- Nor may anything be left that is no task.
      held.open(uuid)
    end
  end
  for at = 1, #placed, 2 do
    back[#back + 1] = { id = placed[at], score = placed[at + 1], placed = true }
  end
  again.put_back(opened, ending, back, uuid)
  if moved < budget and engine.tied then
    moved = moved + release_tied(opened, ending, uuid, budget - moved)
  end
  if moved < budget and rare.is(opened, "c") then
    moved = moved + release_shared(opened, ending, engine, budget - moved)
  end
  cascade.run(opened, ending)
  settle.close(ending)
  if moved >= budget or not engines.is_idle(uuid) then
    return moved, false
  end
  engines.remove(engine)
  story.tell(opened, "engine gone", "engine", uuid, "id", engine.id, "why", reason)
  return moved, true
end

return {
  hide = hide,
  engine = lose_engine,
}
