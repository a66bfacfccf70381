-- functions: pickled functions, stored once and counted.
--
-- The count is how many records name the digest. At zero the function is kept for an
-- hour, because it is likely to be called again.

local keys = require("lib.keys")
local rare = require("lib.rare")

local IDLE = 3600000
-- For how many engines it is remembered that they cannot run a function.
local MOST_REFUSALS = 1000

local function known(digest)
  return redis.call("EXISTS", keys.fn(digest)) == 1
end

-- `count` more records name the function; the blob is stored if one is given.
local function need(digest, blob, name, count)
  local key = keys.fn(digest)
  if blob ~= "" then
    redis.call("HSET", key, "blob", blob, "name", name)
  end
  if redis.call("HINCRBY", key, "count", count) == tonumber(count) then
    redis.call("ZREM", keys.idle_functions, digest)
  end
end

-- `count` records fewer name it.
local function release(opened, digest, count)
  if redis.call("HINCRBY", keys.fn(digest), "count", -count) == 0 then
    redis.call("ZADD", keys.idle_functions, opened.stamp + IDLE, digest)
  end
end

-- Which engines have said that they can never run this function, as ranges; nil: all may.
-- `fn` is the field of a record.
local function refused(opened, fn)
  if not rare.is(opened, "r") then
    return nil
  end
  return redis.call("HGET", keys.fn(string.match(fn, "^%S+") or ""), "refused") or nil
end

-- Note that an engine lacks what the function requires, and will not get it.
local function refuse(opened, fn, label)
  local key = keys.fn(string.match(fn, "^%S+"))
  local ranges = require("lib.ranges")
  local before = redis.call("HGET", key, "refused") or ""
  local function lives(number)
    return redis.call("ZCOUNT", keys.labels, number, number) == 1
  end
  -- Labels are never reused, so those of engines that are gone are dropped.
  local text = ""
  for _, number in ipairs(ranges.numbers(before, lives, MOST_REFUSALS)) do
    text = ranges.with(text, number)
  end
  redis.call("HSET", key, "refused", ranges.with(text, label))
  rare.set(opened, "r")
end

-- Delete at most `count` functions unused for an hour; returns how many.
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
  refused = refused,
  refuse = refuse,
  forget = forget,
}
