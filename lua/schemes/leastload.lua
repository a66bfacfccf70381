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

-- The engine to get the next task; nil when there is none. Where not every engine
-- will do, `admits` says of a uuid whether it does.
local function choose(free, admits)
  if admits then
    return require("lib.candidates").first(free, admits)
  end
  return redis.call("ZRANGE", free, 0, 0)[1]
end

return {
  score = score,
  choose = choose,
}
