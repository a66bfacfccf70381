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

return {
  call = call,
}
