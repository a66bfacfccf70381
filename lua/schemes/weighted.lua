-- weighted: of two engines drawn at random, weighted towards low load, the one with less
-- load; of equals the first drawn.

local dice = require("lib.dice")

-- Scores order by load, as in leastload.
local LOAD = 1099511627776

-- Most distinct loads looked at: engines with a higher one wait.
local MOST = 64

local function score(load, used)
  return load * LOAD + used
end

local function load_of(points)
  return math.max(0, math.floor(tonumber(points) / LOAD))
end

-- An idle engine is a million times as likely as one with a task.
local function weight(load)
  return 1 / (1e-6 + load)
end

-- Engines of equal load are adjacent. Returns the levels in ascending order: load, number
-- of engines, and how many precede them; and the sum of all weights.
local function read_levels(free)
  local levels, before, total = {}, 0, 0
  local head = redis.call("ZRANGE", free, "0", "0", "WITHSCORES")
  while head[1] and #levels < MOST do
    local load = load_of(head[2])
    local up_to = redis.call("ZCOUNT", free, "-inf",
      string.format("(%.0f", (load + 1) * LOAD))
    local count = up_to - before
    levels[#levels + 1] = { load = load, count = count, before = before }
    total = total + count * weight(load)
    before = up_to
    head = redis.call("ZRANGE", free, before, before, "WITHSCORES")
  end
  return levels, total
end

local function draw_level(levels, total)
  local point = dice.fraction() * total
  for _, level in ipairs(levels) do
    point = point - level.count * weight(level.load)
    if point < 0 then
      return level
    end
  end
  return levels[#levels]
end

-- The winning level of two weighted draws; any engine in it will do.
local function choose_level(levels, total)
  if #levels < 2 then
    return levels[1]
  end
  local first, second = draw_level(levels, total), draw_level(levels, total)
  return second.load < first.load and second or first
end

-- Likewise for engines in a list, with these scores.
local function level_list(scores)
  local levels, total = {}, 0
  for at, points in ipairs(scores) do
    local load = load_of(points)
    local level = levels[#levels]
    if not level or level.load ~= load then
      level = { load = load, count = 0, before = at - 1 }
      levels[#levels + 1] = level
    end
    level.count = level.count + 1
    total = total + weight(load)
  end
  return levels, total
end

local function draw_rank(level)
  return level.before + (level.count > 1 and dice.below(level.count) or 0)
end

local function choose(free, admits)
  if admits then
    local uuids, scores = require("lib.candidates").all(free, admits)
    local level = choose_level(level_list(scores))
    return level and uuids[draw_rank(level) + 1]
  end
  local level = choose_level(read_levels(free))
  if not level then
    return nil
  end
  local rank = draw_rank(level)
  return redis.call("ZRANGE", free, rank, rank)[1]
end

return {
  score = score,
  choose = choose,
}
