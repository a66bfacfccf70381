-- dice: random numbers for schemes.
--
-- The minimal standard generator: S. K. Park, K. W. Miller, "Random number generators:
-- good ones are hard to find", CACM 31 (1988), 1192-1201. The servers share no built-in
-- one that repeats itself on replicas. Its state is the field `dice` of the hub: read
-- when a script first draws, and written for several draws at once.

local keys = require("lib.keys")

local FACTOR, MODULUS = 16807, 2147483647

-- How many draws one write reserves; those that a script does not use are lost. 5 is
-- coprime to the period, MODULUS - 1: so the first draws of all scripts are a sequence of
-- full period as well.
local AHEAD = 5

-- Products stay below 2^46: doubles are exact.
local function step(last)
  return last * FACTOR % MODULUS
end

local state, left

-- Advance the state in the hub by AHEAD draws.
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
