-- parcel: large arguments and results that came ahead of their call, by a plain SET.
--
-- What is given to a script is copied there and back, and since Redis 7 each byte of it is
-- hashed: 100 kB take ten times as long as a SET of them, and Redis does nothing else.
-- So who has much to say sends it before the call, in the same round trip, and PARCEL
-- stands for it in the call. What no call takes expires.

local keys = require("lib.keys")

-- No envelope is so short.
local PARCEL = "@parcel"

-- Seldom: how many bytes came; 0 when nothing did. Of a result with the token of its try.
local function size(id, token)
  return redis.call("STRLEN", keys.parcel(id, token))
end

-- Seldom: what came.
local function content(id, token)
  return redis.call("GET", keys.parcel(id, token))
end

-- Seldom: what came is the part of this name, beside the record, from here on. Returns
-- how many bytes that is.
local function take(id, name, token)
  local key = keys.task(id, name)
  redis.call("RENAME", keys.parcel(id, token), key)
  redis.call("PERSIST", key)
  return redis.call("STRLEN", key)
end

return {
  PARCEL = PARCEL,
  size = size,
  content = content,
  take = take,
}
