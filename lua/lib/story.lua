-- story: a log of what did not go smoothly, in one capped stream.
--
-- The smooth path costs nothing: its times are in the record.

local keys = require("lib.keys")

local KEPT = 10000

-- Add an entry: the event, then field and value pairs. Values are shown to people as they
-- are, so they must never contain arguments or results.
local function tell(opened, event, ...)
  redis.call("XADD", keys.story, "MAXLEN", "~", KEPT, "*",
    "at", opened.stamp, "event", event, ...)
end

return {
  tell = tell,
}
