-- functions: pickled functions, stored once and counted.
--
-- The count is of the records that name the digest. At zero the function stays
-- an hour, because the next call of it is likely.

local keys = require("lib.keys")

local IDLE = 3600000

local function known(digest)
  return redis.call("EXISTS", keys.fn(digest)) == 1
end

-- `count` more records name the function; the blob is written when it is new.
local function need(digest, blob, name, count)
  local key = keys.fn(digest)
  if blob ~= "" then
    redis.call("HSET", key, "blob", blob, "name", name)
  end
  if redis.call("HINCRBY", key, "count", count) == count then
    redis.call("ZREM", keys.idle_functions, digest)
  end
end

-- `count` records fewer name it.
local function release(opened, digest, count)
  if redis.call("HINCRBY", keys.fn(digest), "count", -count) == 0 then
    redis.call("ZADD", keys.idle_functions, opened.stamp + IDLE, digest)
  end
end

-- Delete at most `count` functions that nobody has needed for an hour.
local function forget(opened, count)
  local due = redis.call("ZRANGEBYSCORE", keys.idle_functions, "-inf", opened.stamp,
    "LIMIT", 0, count)
  for _, digest in ipairs(due) do
    redis.call("UNLINK", keys.fn(digest))
    redis.call("ZREM", keys.idle_functions, digest)
  end
  return #due
end

return {
  known = known,
  need = need,
  release = release,
  forget = forget,
}
