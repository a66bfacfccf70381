-- turn: an engine reports outcomes, if any, and takes its next work, if any.
--
-- KEYS     root
-- ARGV     now engine number nonce want ("folded:n" token bytes (id value)*n)*
--          ("kind:n" id token "ago took" body (field value)*n)*
-- RETURNS  {"ok" | "again", stale, (id attempt fn args root)* | ids rows} | {"gone"}
-- MOVES    -
-- ERRORS   NOHUB SCHEMA SCHEME NOW BADARG
-- COST     O(outcomes + taken * log ready + dependents told), at most 100 of those
--
-- Turns that take are numbered per engine, and a turn that is sent again with
-- the nonce of the last one gets the same tasks ("again"). A turn without a
-- number only reports: the supervisor's way. Behind its nonce an engine may name the
-- nonce of its next turn; while it is idle, a task may then come to it in that turn
-- without being asked for, in the bell. The token of what is taken is
-- `attempt:nonce`. `ago` is how many us ago the task began and `took` how many
-- it ran, so that times are the server's.
-- Kinds: ok; error, late (over its time limit) and final (not to be retried); unbegun
-- (given back, no try used); unmet (the engine lacks what the task needs, fields
-- `words` and, to remember it for the function, `by require`); aborted (interrupted).
-- The body is the signed result or error; a large result may have come as a parcel.
-- A root "=" says that the record stands on the sheet, as those of a reply in lists do
-- (lib/sheet.lua has what rows are); what became of such may be told in blocks, one for
-- each client and token (lib/folded.lua).

local argument = require("lib.argument")
local engines = require("lib.engines")
local hub = require("lib.hub")
local keys = require("lib.keys")
local rare = require("lib.rare")
local report = require("lib.report")
local settle = require("lib.settle")
local take = require("lib.take")

-- Where outcomes begin in ARGV.
local OUTCOMES = 6

local uuid, number = ARGV[2], argument.count(ARGV[3])
-- Of this turn, and of the one that a task may come in without being asked for.
local nonce, upcoming = string.match(ARGV[4] or "", "^(%S*) ?(%S*)$")
local want = argument.count(ARGV[5])

local function refuse()
  if not want or number == 0 or (number and not string.find(nonce or "", "^[A-Za-z0-9_-]+$")) then
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
local function read_outcomes()
  if #ARGV < OUTCOMES then
    return {}, {}
  end
  return report.read(OUTCOMES, uuid)
end

-- Outcomes take effect, and who depends on them stands in line. Returns what is to
-- run again.
local function apply(opened, ending, engine, good, stale)
  local again = {}
  if good.any or #stale > 0 then
    report.tell_stale(opened, uuid, stale)
    again = report.apply(opened, ending, engine, good)
  end
  local left
  if #ending.parents > 0 then
    left = require("lib.cascade").run(opened, ending)
  end
  if rare.is(opened, "u") and left ~= 0 then
    require("lib.cascade").resume(opened, ending, left)
  end
  return again
end

-- What failed here is offered to others. Returns how many found nobody at once.
local function put_back(opened, ending, again)
  if #again == 0 then
    return 0
  end
  local waiting = require("lib.again").put_back(opened, ending, again, uuid)
  if #ending.parents > 0 then
    require("lib.cascade").run(opened, ending)
  end
  return waiting
end

-- After the caller took: a task that failed here is offered to others first, and
-- never to this very turn. If nobody has room, and the caller got nothing else, it
-- is to come again; likewise if there is more to be looked at.
local function take_work(opened, ending, engine, again)
  local taken = take.tasks(opened, engine, nonce, want)
  redis.call("HSET", keys.engine(uuid),
    "number", ARGV[3], "nonce", nonce, "next", upcoming, "used", engine.used)
  -- With hwm 0 who had a task, and has one again, stands in no free set.
  if opened.hwm > 0 or #taken == 0 or not engine.was_busy then
    engines.show(opened, engine, #taken > 0)
  end
  local waiting = put_back(opened, ending, again)
  if (waiting > 0 or opened.looks_on) and #taken == 0 and want > 0 then
    engines.ring(uuid)
  end
  return taken
end

-- Seldom: of a turn that takes nothing new. If it left the engine with nothing to do,
-- beside work that it may take, the engine is to come for it.
local function only_report(opened, ending, engine, again)
  -- One that has never come for anything is not free yet.
  if engine.number > 0 then
    engines.show(opened, engine)
  end
  put_back(opened, ending, again)
  if not engine.leaving and redis.call("LLEN", keys.engine(uuid, "bell")) == 0
    and redis.call("EXISTS", keys.engine(uuid, "held")) == 0
    and (redis.call("ZCARD", keys.engine(uuid, "assigned")) > 0
      or take.any(opened, engine)) then
    engines.ring(uuid)
  end
end

-- What the engine could not take, nor can another: it ends.
local function rescue(opened, ending)
  if not opened.stranded then
    return ending
  end
  ending = ending or require("lib.settle").begin(opened)
  require("lib.again").rescue(opened, ending)
  require("lib.cascade").run(opened, ending)
  return ending
end

-- Everything is said: write it, and let idle engines hear of what became ready.
local function close(opened, ending)
  if ending then
    settle.close(ending)
  end
  if opened.fresh or opened.advances then
    require("lib.hold").advance(opened)
  end
end

local function begin(opened, good, stale)
  if good.any or #stale > 0 or rare.is(opened, "u") then
    return settle.begin(opened)
  end
end

-- Take the turn, or only report: returns the word and what was taken.
local function act(opened, ending, engine, again, takes)
  if takes then
    return "ok", take_work(opened, ending, engine, again)
  end
  only_report(opened, ending, engine, again)
  if number and engine.nonce == nonce then
    return "again", require("lib.work").repeated(opened, engine, nonce)
  end
  return number and "again" or "ok", {}
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
  local good, stale = read_outcomes()
  if not good then
    return stale
  end
  engine.was_busy = good.any
  -- A queue that is known, because the caller serves it.
  opened.served = engine.queues[1]

  -- Writes below.
  -- A copy that arrives behind a later turn takes nothing: nobody waits for it.
  local takes = number and engine.nonce ~= nonce and number >= engine.number
  begin_writing(takes)
  local ending = begin(opened, good, stale)
  local again = ending and apply(opened, ending, engine, good, stale) or {}
  local word, taken = act(opened, ending, engine, again, takes)
  close(opened, rescue(opened, ending))
  return { word, #stale, unpack(taken) }
end

return hub.run(main)
