-- leastload: the engine with the least load; among equals the one least recently given
-- work (IPython.parallel's default scheme).
--
-- A scheme is two functions. `score` ranks an engine that has room in the free sets of
-- its queues; `choose` picks from such a set without looking at every engine.

-- Outweighs the least recently used counter: 2^40 assignments, exact below 2^53.
local LOAD = 1099511627776

-- load: tasks the engine has; used: the number of its latest assignment.
local function score(load, used)
  return load * LOAD + used
end

-- Returns the engine to get the next task, or nil. If not every engine will do,
-- `admits(uuid)` says whether one does.
local function choose(free, admits)
  if admits then
    return require("lib.candidates").first(free, admits)
  end
  return redis.call("ZRANGE", free, "0", "0")[1]
end

return {
  score = score,
  choose = choose,
}
