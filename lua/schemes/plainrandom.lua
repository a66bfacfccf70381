-- plainrandom: any engine with room, all equally likely.

local dice = require("lib.dice")

-- With more engines than this, so many are drawn before those that will do are looked
-- for: of these only the first are found, and as all rank equal always the same.
local MANY, DRAWS = 100, 16

-- All rank equal.
local function score()
  return 0
end

local function draw(free, count)
  local rank = count > 1 and dice.below(count) or 0
  return redis.call("ZRANGE", free, rank, rank)[1]
end

-- The first drawn that will do; nil if none was.
local function draw_one(free, admits, count)
  for _ = 1, DRAWS do
    local uuid = draw(free, count)
    if admits(uuid) then
      return uuid
    end
  end
end

local function choose(free, admits)
  local count = redis.call("ZCARD", free)
  if not admits then
    return draw(free, count)
  end
  local drawn = count > MANY and type(admits) == "function" and draw_one(free, admits, count)
  if drawn then
    return drawn
  end
  local uuids = require("lib.candidates").all(free, admits)
  return uuids[2] and uuids[dice.below(#uuids) + 1] or uuids[1]
end

return {
  score = score,
  choose = choose,
}
