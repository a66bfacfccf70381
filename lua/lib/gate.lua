-- gate: a record without a function, behind which tasks wait until it opens.
--
-- It is no task: it is not counted, and in no index but R:timers. There it is by when it
-- is given up, and once it was opened or given up, by when it is forgotten. On a hub of
-- an earlier release it is made in that release's way: counted as a task, and in the
-- indexes of tasks, with a retention of its own (`ttl`).

local hold = require("lib.hold")
local keys = require("lib.keys")
local settle = require("lib.settle")
local timers = require("lib.timers")

-- A gate not opened within ten minutes never will be.
local GIVEN_UP = 600000
-- How long an opened gate is remembered, for calls that are retried.
local KEPT = 3600000

-- The score is its place on a hub of an earlier release.
local function make(opened, id, score)
  redis.call("HSET", keys.task(id), "state", "waiting", "gate", id,
    "submitted", string.format("%d", opened.stamp))
  if opened.is_earlier then
    redis.call("HSET", keys.task(id), "marks", "t", "ttl", string.format("%d", KEPT))
    hold.enter(opened, id, score)
    -- Before anything that waits behind it.
    hold.settle_in(opened)
  end
  timers.set(opened, "g", id, GIVEN_UP)
end

-- Open a gate, as read by lib/depend.lua, or give it up for this reason.
local function finish(opened, ending, gate, to, reason)
  local id, key = gate.id, keys.task(gate.id)
  timers.clear("g", id)
  redis.call("HDEL", key, "gate")
  redis.call("HSET", key, "state", to, "ended", opened.stamp)
  if reason then
    redis.call("HSET", key, "verdict", "aborted", "reason", reason)
  end
  local words = reason and "aborted " .. reason or "opened "
  if gate.ttl then
    settle.outcome(ending, id, "waiting", to, "", gate.marks, "v", words)
    redis.call("ZREM", keys.waiting, id)
  else
    settle.announce(ending, id, "waiting", to, "", gate.marks, "v", words)
    timers.set(opened, "g", id, KEPT)
  end
end

-- Its time is over: nobody opened it, as its client is gone; or it is to be forgotten.
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
