-- parcel: large arguments and results sent ahead of their call, by a plain SET.
--
-- Script arguments are copied there and back, and since Redis 7 each byte of them is
-- hashed: 100 kB take ten times as long as in a SET, and block Redis meanwhile. So large
-- values are sent before the call, in the same round trip, and PARCEL stands for them in
-- the call. Unclaimed ones expire.

local keys = require("lib.keys")

-- No envelope is this short.
local PARCEL = "@parcel"

-- Seldom: size of a parcel; 0 if there is none. A result has the token of its attempt.
local function size(id, token)
  return redis.call("STRLEN", keys.parcel(id, token))
end

-- Seldom: content of a parcel.
local function content(id, token)
  return redis.call("GET", keys.parcel(id, token))
end

-- Seldom: make a parcel the part of this name, beside the record. Returns its size in
-- bytes.
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
