-- leastload: the engine with the least load; among equals the one that was
-- given work the longest time ago (IPython.parallel's default scheme).
--
-- A scheme is two functions. `score` ranks an engine with room in its queues'
-- free sets; `choose` picks from such a set without looking at every engine.

-- Above the least recently used counter: 2^40 assignments, and 2^53 is exact.
local LOAD = 1099511627776

-- load: tasks the engine has; used: the number of its latest assignment.
local function score(load, used)
  return load * LOAD + used
end

local PIECE = 32
local MOST = 1000

-- The best engine in the set, among those that are admitted; nil: there is none.
local function choose(free, admits)
  if not admits then
    return redis.call("ZRANGE", free, 0, 0)[1]
  end
  for from = 0, MOST - 1, PIECE do
    local piece = redis.call("ZRANGE", free, from, from + PIECE - 1)
    for _, uuid in ipairs(piece) do
      if admits(uuid) then
        return uuid
      end
    end
    if #piece < PIECE then
      return nil
    end
  end
end

return {
  score = score,
  choose = choose,
}
