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

-- The engine to get the next task, never `except`; nil when there is none.
local function choose(free, except)
  local best = redis.call("ZRANGE", free, 0, except and 1 or 0)
  if best[1] == except then
    return best[2]
  end
  return best[1]
end

return {
  score = score,
  choose = choose,
}
