-- story: what went otherwise than straight, in one capped stream.
--
-- The straight way costs nothing: its times are in the record.

local keys = require("lib.keys")

local KEPT = 10000

-- One entry: the event, then field and value pairs. Every value is shown to
-- people as it is, so it must never hold arguments or results.
local function tell(opened, event, ...)
  redis.call("XADD", keys.story, "MAXLEN", "~", KEPT, "*",
    "at", opened.stamp, "event", event, ...)
end

return {
  tell = tell,
}
