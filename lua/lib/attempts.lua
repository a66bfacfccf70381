-- attempts: the tries of a task that did not succeed, on record.
--
-- The first and the last nine are kept: how it began and how it went on.

local keys = require("lib.keys")

local KEPT = 10
local GAP = "-"

-- One line: token, engine, began and ended (ms), what went wrong. Tabs part
-- them, so `what` comes last and may hold anything.
local function note(opened, id, token, engine, started, what)
  local key = keys.task(id, "attempts")
  local text = table.concat({ token, engine, started or "", opened.stamp, what }, "\t")
  if redis.call("RPUSH", key, text) > KEPT then
    redis.call("LSET", key, 1, GAP)
    redis.call("LREM", key, 1, GAP)
  end
end

return {
  note = note,
}
