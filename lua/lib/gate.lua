-- gate: a record without a function, that tasks stand behind until it opens.
--
-- It is no task: it is counted nowhere, and stands in no index but R:timers. There it is
-- by when it is given up, and when it was opened or given up, by when it is forgotten.
-- On a hub of an earlier release it is made as that knows it: counted as a task, and in
-- the indexes of tasks, with a retention of its own (`ttl`).

local hold = require("lib.hold")
local keys = require("lib.keys")
local settle = require("lib.settle")
local timers = require("lib.timers")

-- One that is not opened within ten minutes never will be.
local GIVEN_UP = 600000
-- For how long it is known that it was opened: a call that is sent again asks.
local KEPT = 3600000

-- The score is where it stands on a hub of an earlier release.
local function make(opened, id, score)
  redis.call("HSET", keys.task(id), "state", "waiting", "gate", id,
    "submitted", string.format("%d", opened.stamp))
  if opened.is_earlier then
    redis.call("HSET", keys.task(id), "marks", "t", "ttl", string.format("%d", KEPT))
    hold.enter(opened, id, score)
    -- Before anything that stands behind it.
    hold.settle_in(opened)
  end
  timers.set(opened, "g", id, GIVEN_UP)
end

-- It opens, or is given up for this reason. `gate` is as lib/depend.lua reads it.
local function finish(opened, ending, gate, to, reason)
  local id, key = gate.id, keys.task(gate.id)
  timers.clear("g", id)
  redis.call("HDEL", key, "gate")
  redis.call("HSET", key, "state", to, "ended", opened.stamp)
  if reason then
    redis.call("HSET", key, "verdict", "aborted", "reason", reason)
  end
  settle.outcome(ending, id, "waiting", to, "", gate.marks, "v",
    reason and "aborted " .. reason or "opened ")
  if gate.ttl then
    redis.call("ZREM", keys.waiting, id)
  else
    settle.unlist(ending)
    timers.set(opened, "g", id, KEPT)
  end
end

-- Nobody has opened it: who was to do it is gone. Or its time is over.
local function due(opened, ending, gate)
  local forget = require("lib.forget")
  if gate.state == "waiting" then
    finish(opened, ending, gate, "aborted", "its submit was never completed")
  elseif forget.is_needed(gate.id) then
    timers.set(opened, "g", gate.id, KEPT)
  else
    forget.task(opened, gate.id, gate.state)
  end
end

return {
  KEPT = KEPT,
  make = make,
  finish = finish,
  due = due,
}
