-- live: what a task reports while it runs, for listeners.
--
-- A stream beside the record of a task that somebody listens to (mark l). It tells when
-- an attempt begins and when the task ends, and what its worker passes on in between. It
-- is short, and expires a minute after the latest entry: the output of an ended task is
-- in its record.

local keys = require("lib.keys")

local KEPT = 60000
local MOST = 64

local function add(id, ...)
  local stream = keys.task(id, "live")
  redis.call("XADD", stream, "MAXLEN", MOST, "*", ...)
  redis.call("PEXPIRE", stream, KEPT)
end

-- Seldom: an attempt begins on an engine.
local function begun(id, uuid, token)
  local f = redis.call("HMGET", keys.engine(uuid), "worker", "id")
  add(id, "begun", table.concat({ f[1], f[2] .. "/" .. uuid, token }, " "))
end

-- Seldom: the task ends.
local function ended(id, state)
  add(id, "ended", state)
end

return {
  add = add,
  begun = begun,
  ended = ended,
}
