-- tell: leave a message for the supervisor of a worker.
--
-- KEYS     root
-- ARGV     now worker message
-- RETURNS  {"ok" | "nobody"}
-- MOVES    -
-- ERRORS   NOHUB SCHEMA SCHEME NOW BADARG
-- COST     O(1)
--
-- The sender signs the message for this worker and says in it how long it is valid; the
-- list expires a minute after the latest. `nobody`: no worker of this name has been heard
-- of for a day.

local hub = require("lib.hub")
local keys = require("lib.keys")
local reply = require("lib.reply")

local KEPT = 60000
-- Most unread messages kept, and most bytes in one.
local MOST, LONGEST = 1000, 4096

local worker, message = ARGV[2] or "", ARGV[3] or ""

local function main()
  if not string.find(worker, "^[A-Za-z0-9_.-]+$") or #worker > 64 then
    return reply.fail("BADARG", "not a worker: " .. string.sub(worker, 1, 64))
  end
  if #message == 0 or #message > LONGEST then
    return reply.fail("BADARG", "a message has 1 to " .. LONGEST .. " bytes")
  end
  if redis.call("EXISTS", keys.worker(worker)) == 0 then
    return { "nobody" }
  end

  -- Writes below. The first is allowed at maxmemory.
  redis.call("PERSIST", keys.hub)
  local control = keys.worker(worker, "control")
  redis.call("RPUSH", control, message)
  redis.call("LTRIM", control, -MOST, -1)
  redis.call("PEXPIRE", control, KEPT)
  return { "ok" }
end

return hub.run(main)
