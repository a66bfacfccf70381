-- batches: many members for a sorted set at once.
--
-- Lua's stack holds some 8,000 values, and unpack() of more is an error half
-- way through a script, so long tails go in pieces.

local PIECE = 1000

local function add(key, tail)
  for from = 1, #tail, PIECE do
    redis.call("ZADD", key, unpack(tail, from, math.min(from + PIECE - 1, #tail)))
  end
end

-- More than this at once are worth a real sorted set from the start.
local MANY = 16
-- Over zset-max-listpack-value (64 bytes).
local LONG = string.rep("-", 65)

-- ZADD of many. Redis keeps a small sorted set in a list that it searches from the
-- beginning at each insertion, until it has 128 members or its first member is long:
-- filling such a list costs more than everything else in a script.
local function zadd(key, tail)
  if #tail < 2 * MANY or redis.call("EXISTS", key) == 1 then
    return add(key, tail)
  end
  redis.call("ZADD", key, 0, LONG)
  add(key, tail)
  redis.call("ZREM", key, LONG)
end

-- ZREM of many.
local function zrem(key, members)
  for from = 1, #members, PIECE do
    redis.call("ZREM", key, unpack(members, from, math.min(from + PIECE - 1, #members)))
  end
end

return {
  zadd = zadd,
  zrem = zrem,
}
