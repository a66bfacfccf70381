-- candidates: engines with room for a task, when not every one will do.
--
-- They are looked at in the order of their scores, and at most MOST of them: no script
-- may take long, however many engines there are. If it is known which they may be
-- (`admits.uuids`, with `admits.scores`), only these are.

local PIECE = 32
local MOST = 1000
-- Most that are collected.
local ENOUGH = 50

-- Calls `found(uuid, score)` for each that `admits` accepts, until one returns true.
local function visit_some(admits, found)
  for at, uuid in ipairs(admits.uuids) do
    if admits(uuid) and found(uuid, admits.scores[at]) then
      return
    end
  end
end

-- Likewise among all with room.
local function visit(free, admits, found)
  if type(admits) == "table" then
    return visit_some(admits, found)
  end
  for from = 0, MOST - 1, PIECE do
    local last = math.min(from + PIECE, MOST) - 1
    local piece = redis.call("ZRANGE", free, from, last, "WITHSCORES")
    for at = 1, #piece, 2 do
      if admits(piece[at]) and found(piece[at], piece[at + 1]) then
        return
      end
    end
    if #piece < 2 * PIECE then
      return
    end
  end
end

-- The first, or nil.
local function first(free, admits)
  local best
  visit(free, admits, function(uuid)
    best = uuid
    return true
  end)
  return best
end

-- The first ENOUGH of all, and the score of each, as text.
local function all(free, admits)
  local uuids, scores = {}, {}
  visit(free, admits, function(uuid, score)
    uuids[#uuids + 1], scores[#scores + 1] = uuid, score
    return #uuids == ENOUGH
  end)
  return uuids, scores
end

return {
  first = first,
  all = all,
}
