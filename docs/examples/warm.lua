-- warm: of idle engines the one that was used last, else the one with the least load.
-- While there is little to do it falls to the same few engines, which keep their
-- caches warm, and the others could be stopped.

-- More than there will be assignments.
local MANY = 2 ^ 40

-- Ranks an engine with room: `load` is how many tasks it has, `used` the number of
-- its latest assignment, in the order of all assignments. Low ranks stand first.
local function score(load, used)
  return load * MANY + (MANY - used)
end

-- Picks an engine from the sorted set `free`, best rank first; nil when it is empty.
-- Where a task may not go to all of them, `admits` says of an engine whether it may.
local function choose(free, admits)
  if admits then
    return require("lib.candidates").first(free, admits)
  end
  return redis.call("ZRANGE", free, 0, 0)[1]
end

return { score = score, choose = choose }
