-- plainrandom: any engine with room, all equally likely.

local dice = require("lib.dice")

-- All rank equal.
local function score()
  return 0
end

local function choose(free, admits)
  if admits then
    local uuids = require("lib.candidates").all(free, admits)
    return uuids[2] and uuids[dice.below(#uuids) + 1] or uuids[1]
  end
  local count = redis.call("ZCARD", free)
  local rank = count > 1 and dice.below(count) or 0
  return redis.call("ZRANGE", free, rank, rank)[1]
end

return {
  score = score,
  choose = choose,
}
