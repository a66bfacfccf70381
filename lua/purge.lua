-- purge: forget ended tasks before their retention is over.
--
-- KEYS     root
-- ARGV     now (id)*
-- RETURNS  {"ok", purged, kept, left}
-- MOVES    -
-- ERRORS   NOHUB SCHEMA SCHEME NOW BADARG PENDING
-- COST     O(ids * log ended), at most 500 ids
--
-- All or none: a task that has not ended refuses the call; unknown ids are ignored. Tasks
-- that others still need are kept, and counted. A tombstone says how a purged task ended,
-- so that a later dependency on it resolves. `left` need the results of very many others,
-- which are released a part at a time: repeat the call.

local argument = require("lib.argument")
local forget = require("lib.forget")
local hub = require("lib.hub")
local keys = require("lib.keys")
local record = require("lib.record")
local reply = require("lib.reply")
local states = require("lib.states")

local MOST = 500

-- Returns the ended tasks among the ids, with their states; or nil and the error reply.
local function check()
  local ended, seen = {}, {}
  for at = 2, #ARGV do
    local id = ARGV[at]
    if not argument.is_id(id) then
      return nil, reply.fail("BADARG", "not a task id: " .. id)
    end
    local state = record.get(id, "state")[1]
    if state and not states.is_ended(state) then
      return nil, reply.fail("PENDING", id .. " is " .. state .. ": it has not ended")
    end
    if state and not seen[id] then
      seen[id] = true
      ended[#ended + 1] = { id = id, state = state }
    end
  end
  return ended
end

local function main(opened)
  if #ARGV - 1 > MOST then
    return reply.fail("BADARG", "purge takes at most " .. MOST .. " ids")
  end
  local ended, refused = check()
  if not ended then
    return refused
  end

  -- Writes below. The first is allowed at maxmemory.
  redis.call("PERSIST", keys.hub)
  local purged, left = forget.purged(opened, ended)
  return { "ok", purged, #ended - purged - left, left }
end

return hub.run(main)
