-- turn: an engine reports outcomes, if any, and takes its next work, if any.
--
-- KEYS     root
-- ARGV     now engine number nonce want (kind id token "ago took n" body (field value)*n)*
-- RETURNS  {"ok" | "again", stale, (id attempt fn args root)*} | {"gone"}
-- MOVES    -
-- ERRORS   NOHUB SCHEMA SCHEME NOW BADARG
-- COST     O((outcomes + taken) * log held)
--
-- Turns that take are numbered per engine, and a turn that is sent again with
-- the nonce of the last one gets the same tasks ("again"). A turn without a
-- number only reports: the supervisor's way. Behind its nonce an engine may name the
-- nonce of its next turn; while it is idle, a task may then come to it in that turn
-- without being asked for, in the bell. The token of what is taken is
-- `attempt:nonce`. `ago` is how many ms ago the task began and `took` how many
-- us it ran, so that times are the server's.
-- Kinds: ok, error, unbegun (given back, no try used); the body is the signed
-- result or error.

local argument = require("lib.argument")
local engines = require("lib.engines")
local hub = require("lib.hub")
local keys = require("lib.keys")
local line = require("lib.line")
local take = require("lib.take")

-- Where outcomes begin in ARGV.
local OUTCOMES = 6

local uuid, number = ARGV[2], argument.count(ARGV[3])
-- Of this turn, and of the one that a task may come in without being asked for.
local nonce, upcoming = string.match(ARGV[4] or "", "^(%S*) ?(%S*)$")
local want = argument.count(ARGV[5])

local function refuse()
  if not want or (number and not string.find(nonce or "", "^[A-Za-z0-9_-]+$")) then
    return require("lib.reply").fail("BADARG",
      "a turn needs a nonce and how many tasks it wants")
  end
end

-- The first write is one that a full Redis allows: reports must always get
-- through, they are what frees memory. A ring that is pending is answered by a
-- turn that takes.
local function begin_writing(takes)
  if takes then
    redis.call("UNLINK", keys.engine(uuid, "bell"))
  else
    redis.call("PERSIST", keys.engine(uuid))
  end
end

-- The outcomes that count and those that are stale; or nil and the error reply.
local function read_outcomes(engine)
  if #ARGV < OUTCOMES then
    return {}, {}
  end
  return require("lib.report").read(OUTCOMES, engines.name_of(engine))
end

-- Returns what is to run again.
local function apply(opened, good, stale)
  if #good + #stale == 0 then
    return {}
  end
  local report = require("lib.report")
  local settle = require("lib.settle")
  report.tell_stale(opened, uuid, stale)
  local ending = settle.begin(opened)
  local again = report.apply(opened, ending, uuid, good)
  settle.close(ending)
  return again
end

local function put_back(opened, again)
  if #again == 0 then
    return 0
  end
  return require("lib.again").put_back(opened, again, uuid)
end

-- After the caller took: a task that failed here is offered to others first, and
-- never to this very turn. If nobody has room, and the caller got nothing else, it
-- is to come again.
local function take_work(opened, engine, again)
  local taken = take.tasks(opened, engine, nonce, want)
  redis.call("HSET", keys.engine(uuid),
    "number", number, "nonce", nonce, "next", upcoming, "used", engine.used)
  engines.show(opened, engine, #taken > 0)
  if put_back(opened, again) > 0 and #taken == 0 and want > 0 then
    engines.ring(uuid)
  end
  return taken
end

-- Of a turn that takes nothing new. If it left the engine with nothing to do,
-- beside work that it may take, the engine is to come for it.
local function only_report(opened, engine, again)
  engines.show(opened, engine)
  put_back(opened, again)
  if redis.call("LLEN", keys.engine(uuid, "bell")) == 0
    and redis.call("ZCARD", keys.engine(uuid, "held")) == 0
    and (redis.call("ZCARD", keys.engine(uuid, "assigned")) > 0
      or line.length(engine.queues) > 0) then
    engines.ring(uuid)
  end
end

local function main(opened)
  local refused = refuse()
  if refused then
    return refused
  end
  local engine = engines.find(uuid)
  if not engine then
    return { "gone" }
  end
  local good, stale = read_outcomes(engine)
  if not good then
    return stale
  end

  -- Writes below.
  local repeated = number and engine.nonce == nonce
  -- A copy that arrives behind a later turn takes nothing: nobody waits for it.
  local takes = number and not repeated and number >= engine.number
  begin_writing(takes)
  local again = apply(opened, good, stale)
  if takes then
    return { "ok", #stale, unpack(take_work(opened, engine, again)) }
  end
  only_report(opened, engine, again)
  local taken = repeated and require("lib.work").repeated(engine, nonce) or {}
  return { number and "again" or "ok", #stale, unpack(taken) }
end

return hub.run(main)
