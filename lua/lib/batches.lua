-- batches: pass many members of a sorted set or a hash at once.
--
-- Lua's stack holds some 8,000 values, and unpack() of more fails in the middle of a
-- script, so long argument lists are split.

local PIECE = 1000

-- Call a command with the key and each piece of the tail; returns the sum of replies.
local function each(command, key, tail)
  local length = #tail
  if length <= PIECE then
    return redis.call(command, key, unpack(tail))
  end
  local sum = 0
  for from = 1, length, PIECE do
    sum = sum
      + redis.call(command, key, unpack(tail, from, math.min(from + PIECE - 1, length)))
  end
  return sum
end

-- With more than this at once, start with the encoding for large sorted sets or hashes.
local MANY = 16
-- Over zset-max-listpack-value and hash-max-listpack-value (64 bytes).
local LONG = string.rep("-", 65)

-- Redis keeps a small sorted set in a listpack, searched from its beginning at each
-- insertion, until it has 128 members or a long one: filling that costs more than
-- everything else in a script. Likewise a hash.
local function is_worth(key, tail)
  return #tail >= 2 * MANY and redis.call("EXISTS", key) == 0
end

-- ZADD of many.
local function zadd(key, tail)
  if is_worth(key, tail) then
    redis.call("ZADD", key, 0, LONG)
    each("ZADD", key, tail)
    redis.call("ZREM", key, LONG)
  elseif #tail > 0 then
    each("ZADD", key, tail)
  end
end

-- HSET of many.
local function hset(key, tail)
  if is_worth(key, tail) then
    redis.call("HSET", key, LONG, LONG)
    each("HSET", key, tail)
    redis.call("HDEL", key, LONG)
  elseif #tail > 0 then
    each("HSET", key, tail)
  end
end

-- HMGET of many.
local function hmget(key, names)
  local length = #names
  if length <= PIECE then
    return redis.call("HMGET", key, unpack(names))
  end
  local found = {}
  for from = 1, length, PIECE do
    local piece = redis.call("HMGET", key,
      unpack(names, from, math.min(from + PIECE - 1, length)))
    for at = 1, #piece do
      found[from + at - 1] = piece[at]
    end
  end
  return found
end

-- ZREM of many.
local function zrem(key, members)
  if #members > 0 then
    each("ZREM", key, members)
  end
end

return {
  each = each,
  zadd = zadd,
  hset = hset,
  hmget = hmget,
  zrem = zrem,
}
