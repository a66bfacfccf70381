-- dice: random numbers for schemes.
--
-- The minimal standard generator: S. K. Park, K. W. Miller, "Random number
-- generators: good ones are hard to find", CACM 31 (1988), 1192-1201. Servers have
-- none that they share and that replicas repeat. Its state is the field `dice` of
-- the hub: read when a script first draws, and written for some draws at once.

local keys = require("lib.keys")

local FACTOR, MODULUS = 16807, 2147483647

-- So many draws are paid with one write; what a script leaves of them is lost. 5
-- has no factor in common with the period, MODULUS - 1: then the first draws of all
-- scripts are a sequence of full period as well.
local AHEAD = 5

-- Products stay below 2^46: doubles are exact.
local function step(last)
  return last * FACTOR % MODULUS
end

local state, left

-- Let the state in the hub be the one behind the next AHEAD draws.
local function reserve()
  state = state or tonumber(redis.call("HGET", keys.hub, "dice") or 1)
  local last = state
  for _ = 1, AHEAD do
    last = step(last)
  end
  redis.call("HSET", keys.hub, "dice", string.format("%.0f", last))
  left = AHEAD
end

-- A number from 0 on and below 1.
local function fraction()
  if not left or left == 0 then
    reserve()
  end
  left = left - 1
  state = step(state)
  return (state - 1) / (MODULUS - 1)
end

-- A whole number from 0 on and below `count`.
local function below(count)
  return math.floor(fraction() * count)
end

return {
  fraction = fraction,
  below = below,
}
