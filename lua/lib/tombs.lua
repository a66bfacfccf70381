-- tombs: how purged tasks ended.
--
-- So that a dependency on one still resolves, and a repeated submit does not run it
-- again. Members of R:gone are the first letter of the state (c, f or a) and the id.

local batches = require("lib.batches")
local keys = require("lib.keys")

local MOST = 100000

-- `ended` is a list of { id, state }.
local function add(opened, ended)
  local entries = {}
  for _, one in ipairs(ended) do
    -- It may have been purged before, with another outcome.
    redis.call("ZREM", keys.gone, "c" .. one.id, "f" .. one.id, "a" .. one.id)
    entries[#entries + 1] = opened.stamp
    entries[#entries + 1] = string.sub(one.state, 1, 1) .. one.id
  end
  batches.zadd(keys.gone, entries)
  redis.call("ZREMRANGEBYRANK", keys.gone, 0, -1 - MOST)
end

-- How the task ended; nil if it was never purged, or long ago.
local function state_of(id)
  for _, state in ipairs({ "completed", "failed", "aborted" }) do
    if redis.call("ZSCORE", keys.gone, string.sub(state, 1, 1) .. id) then
      return state
    end
  end
end

return {
  add = add,
  state_of = state_of,
}
