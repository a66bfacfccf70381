-- answer: a supervisor replies to an order, for whoever waits for it.
--
-- KEYS     root
-- ARGV     now nonce text
-- RETURNS  {"ok"}
-- MOVES    -
-- ERRORS   NOHUB SCHEMA SCHEME NOW BADARG
-- COST     O(1)
--
-- The nonce is the order's, which several supervisors may have received. The list expires
-- a minute after the latest answer.

local hub = require("lib.hub")
local keys = require("lib.keys")
local reply = require("lib.reply")

local KEPT = 60000
-- Most unread answers kept, and most bytes in one.
local MOST, LONGEST = 1000, 4194304

local nonce, text = ARGV[2] or "", ARGV[3] or ""

local function main()
  if #nonce > 64 or not string.find(nonce, "^[A-Za-z0-9_-]+$") or #text == 0
    or #text > LONGEST then
    return reply.fail("BADARG", "an answer that is none")
  end

  -- Writes below. The first is allowed at maxmemory.
  redis.call("PERSIST", keys.hub)
  redis.call("RPUSH", keys.answer(nonce), text)
  redis.call("LTRIM", keys.answer(nonce), -MOST, -1)
  redis.call("PEXPIRE", keys.answer(nonce), KEPT)
  return { "ok" }
end

return hub.run(main)
