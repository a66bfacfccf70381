-- live: what a task says while it runs, for those who listen.
--
-- A stream beside the record of a task that somebody listens to (mark l). It tells when
-- a try begins and when the task ends, and what its worker sends of it in between. It
-- is short, and goes a minute after the latest entry: what a task printed stands in
-- its record when it has ended.

local keys = require("lib.keys")

local KEPT = 60000
local MOST = 64

local function add(id, ...)
  local stream = keys.task(id, "live")
  redis.call("XADD", stream, "MAXLEN", MOST, "*", ...)
  redis.call("PEXPIRE", stream, KEPT)
end

-- Seldom: a try begins on an engine.
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
