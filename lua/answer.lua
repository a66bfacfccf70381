-- answer: a supervisor answers an order, for who waits for that.
--
-- KEYS     root
-- ARGV     now nonce text
-- RETURNS  {"ok"}
-- MOVES    -
-- ERRORS   NOHUB SCHEMA SCHEME NOW BADARG
-- COST     O(1)
--
-- The nonce is that of the order; several supervisors may have got it. The list goes a
-- minute after the latest answer.

local hub = require("lib.hub")
local keys = require("lib.keys")
local reply = require("lib.reply")

local KEPT = 60000
-- Answers that nobody reads, and bytes of one.
local MOST, LONGEST = 1000, 4194304

local nonce, text = ARGV[2] or "", ARGV[3] or ""

local function main()
  if #nonce > 64 or not string.find(nonce, "^[A-Za-z0-9_-]+$") or #text == 0
    or #text > LONGEST then
    return reply.fail("BADARG", "an answer that is none")
  end

  -- Writes below: the first is one that a full Redis allows.
  redis.call("PERSIST", keys.hub)
  redis.call("RPUSH", keys.answer(nonce), text)
  redis.call("LTRIM", keys.answer(nonce), -MOST, -1)
  redis.call("PEXPIRE", keys.answer(nonce), KEPT)
  return { "ok" }
end

return hub.run(main)
