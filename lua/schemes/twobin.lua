-- twobin: of two engines drawn at random, with replacement, the one least recently given
-- work.

local dice = require("lib.dice")

local function score(_, used)
  return used
end

-- A rank below `count`: the lower of two draws.
local function draw(count)
  if count < 2 then
    return 0
  end
  return math.min(dice.below(count), dice.below(count))
end

local function choose(free, admits)
  if admits then
    local uuids = require("lib.candidates").all(free, admits)
    return uuids[draw(#uuids) + 1]
  end
  local rank = draw(redis.call("ZCARD", free))
  return redis.call("ZRANGE", free, rank, rank)[1]
end

return {
  score = score,
  choose = choose,
}
