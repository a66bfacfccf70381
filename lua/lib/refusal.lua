-- refusal: why a hub cannot be opened.
--
-- ERRORS   NOHUB SCHEMA SCHEME NOW

local keys = require("lib.keys")
local reply = require("lib.reply")

-- The hub's format (schema and scheme) is not ours.
local function refuse_format(format, ours, earlier)
  if not format then
    return reply.fail("NOHUB", "there is no hub under " .. KEYS[1])
  end
  local schema, scheme = string.match(format, "^(%S+) (%S+)$")
  if schema ~= ours and schema ~= earlier then
    return reply.fail("SCHEMA", "the hub has schema " .. tostring(schema)
      .. ", this redtask understands " .. ours)
  end
  return reply.fail("SCHEME", scheme)
end

-- The caller gave the time; the error reply if it may not, else nil.
local function refuse_time()
  if redis.call("HGET", keys.hub, "testing") ~= "1" or not tonumber(ARGV[1]) then
    return reply.fail("NOW", "only a hub made for testing is told the time")
  end
end

return {
  format = refuse_format,
  time = refuse_time,
}
