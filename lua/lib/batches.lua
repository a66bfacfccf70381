-- batches: call a command with any number of arguments.
--
-- Lua's stack holds some 8,000 values, and unpack() of more is an error half
-- way through a script, so long tails go in pieces.

local PIECE = 1000

-- redis.call(command, key, unpack(tail)) in pieces of an even size; returns the
-- sum of the replies.
local function call(command, key, tail)
  local size = #tail
  if size == 0 then
    return 0
  end
  if size <= PIECE then
    return redis.call(command, key, unpack(tail))
  end
  local sum = 0
  for from = 1, size, PIECE do
    local to = math.min(from + PIECE - 1, size)
    sum = sum + redis.call(command, key, unpack(tail, from, to))
  end
  return sum
end

-- More than this at once are worth a real sorted set from the start.
local MANY = 64
-- Over zset-max-listpack-value (64 bytes).
local LONG = string.rep("-", 65)

-- ZADD of many. Redis keeps a small sorted set in a list that it searches from the
-- beginning at each insertion, until it has 128 members or its first member is long:
-- filling such a list costs more than everything else in a script.
local function zadd(key, tail)
  if #tail < 2 * MANY or redis.call("EXISTS", key) == 1 then
    return call("ZADD", key, tail)
  end
  redis.call("ZADD", key, 0, LONG)
  call("ZADD", key, tail)
  redis.call("ZREM", key, LONG)
end

return {
  zadd = zadd,
  call = call,
}
