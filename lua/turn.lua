-- turn: an engine reports outcomes, if any, and takes its next work, if any.
--
-- KEYS     root
-- ARGV     now engine number nonce want (kind id token ago took body n (field value)*n)*
-- RETURNS  {"ok" | "again", stale, (id attempt fn args until root)*} | {"gone"}
-- MOVES    -
-- ERRORS   NOHUB SCHEMA SCHEME NOW BADARG
-- COST     O((outcomes + taken) * log held)
--
-- Turns that take are numbered per engine, and a turn that is sent again with
-- the nonce of the last one gets the same tasks ("again"). A turn without a
-- number only reports: the supervisor's way. The token of what is taken is
-- `attempt:nonce`. `ago` is how many ms ago the task
-- began and `took` how many us it ran, so that times are the server's.
-- Kinds: ok, error, unbegun (given back, no try used); the body is the signed
-- result or error.

local argument = require("lib.argument")
local engines = require("lib.engines")
local hub = require("lib.hub")
local keys = require("lib.keys")
local line = require("lib.line")
local report = require("lib.report")
local settle = require("lib.settle")
local take = require("lib.take")

local uuid, number, nonce = ARGV[2], argument.count(ARGV[3]), ARGV[4]
local want = argument.count(ARGV[5])

local opened, refused = hub.open()
if not opened then
  return refused
end
if not want or (number and not string.find(nonce, "^[A-Za-z0-9_-]+$")) then
  return require("lib.reply").fail("BADARG",
    "a turn needs a nonce and how many tasks it wants")
end
local engine = engines.find(uuid)
if not engine then
  return { "gone" }
end
local good, stale = report.read(6)
if not good then
  return stale
end
local repeated = number and engine.nonce == nonce

-- Writes below. The first is one that a full Redis allows: reports must always
-- get through, they are what frees memory. A ring that is pending is answered
-- by this turn.
if number and not repeated then
  redis.call("UNLINK", keys.engine(uuid, "bell"))
else
  redis.call("PERSIST", keys.engine(uuid))
end
report.tell_stale(opened, uuid, stale)
local ending = settle.begin(opened)
local again = report.apply(opened, ending, uuid, good)
settle.close(ending)

local taken = {}
if repeated then
  taken = take.repeated(engine, nonce)
else
  if number then
    taken = take.tasks(opened, engine, nonce, want)
    redis.call("HSET", keys.engine(uuid),
      "number", number, "nonce", nonce, "used", engine.used)
  end
  engines.show(opened, engine, engines.load(uuid))
end
-- After the caller took: a task that failed here is offered to others first,
-- and never to this very turn.
local waiting = report.put_back(opened, again, uuid)
if number then
  if waiting > 0 and #taken == 0 and want > 0 then
    engines.ring(uuid)
  end
elseif engines.load(uuid) == 0 and line.length(engine.queues) > 0 then
  -- The supervisor took everything from it: let it come for more.
  engines.ring(uuid)
end
return { repeated and "again" or "ok", #stale, unpack(taken) }
