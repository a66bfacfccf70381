-- turn: an engine reports outcomes, if any, and takes its next tasks, if any.
--
-- KEYS     root
-- ARGV     now engine number nonce want ("folded:n" token bytes (id value)*n)*
--          ("kind:n" id token "ago took" body (field value)*n)*
-- RETURNS  {"ok" | "again", stale, (id attempt fn args root)* | ids rows} | {"gone"}
-- MOVES    -
-- ERRORS   NOHUB SCHEMA SCHEME NOW BADARG
-- COST     O(outcomes + taken * log ready + dependents told), at most 100 of those
--
-- Turns that take are numbered per engine; one sent again with the nonce of the last gets
-- the same tasks ("again"). A turn without a number only reports: supervisors do that.
-- After its nonce an engine may name the nonce of its next turn; while it is idle, a task
-- may then be pushed to it in that turn, in the bell. The token of what is taken is
-- `attempt:nonce`. `ago` is how many us ago the task began and `took` how many it ran, so
-- that all times are by the server's clock.
-- Kinds: ok; error, late (over its time limit) and final (not to be retried); unbegun
-- (given back, no attempt counted); unmet (the engine lacks what the task needs: fields
-- `words` and, to remember it for the function, `by require`); aborted (interrupted). The
-- body is the signed result or error; a large result may have been sent ahead as a
-- parcel.
-- A negative attempt says that the task was taken along with one that it waits for: the
-- engine begins it only if all that precede it here have succeeded, else it gives it back.
-- A root "=" says that the record is on the sheet, as are all in a reply of lists (for
-- rows see lib/sheet.lua); their outcomes may be reported in blocks, one for each client
-- and token (lib/folded.lua).

local argument = require("lib.argument")
local brief = require("lib.brief")
local engines = require("lib.engines")
local held = require("lib.held")
local hub = require("lib.hub")
local keys = require("lib.keys")
local rare = require("lib.rare")
local report = require("lib.report")
local settle = require("lib.settle")
local take = require("lib.take")

-- Index of the first outcome in ARGV.
local OUTCOMES = 6

local uuid, number = ARGV[2], argument.count(ARGV[3])
-- The nonce of this turn, and of the one in which a task may be pushed.
local nonce, upcoming = string.match(ARGV[4] or "", "^(%S*) ?(%S*)$")
local want = argument.count(ARGV[5])

local function refuse()
  if not want or number == 0 or (number and not string.find(nonce or "", "^[A-Za-z0-9_-]+$")) then
    return require("lib.reply").fail("BADARG",
      "a turn needs a nonce and how many tasks it wants")
  end
end

-- The first write is allowed at maxmemory: reports must always get through, since they
-- free memory. A turn that takes answers a pending ring.
local function begin_writing(takes)
  if takes then
    redis.call("UNLINK", keys.engine(uuid, "bell"))
  else
    redis.call("PERSIST", keys.engine(uuid))
  end
end

-- Returns the outcomes that count and those that are stale; or nil and the error reply.
local function read_outcomes()
  if #ARGV < OUTCOMES then
    return {}, {}
  end
  return report.read(OUTCOMES, uuid)
end

-- Apply outcomes, and put dependents that became ready in line. Returns what is to run
-- again.
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

-- Offer what failed here to other engines. Returns how many found none at once.
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

-- Take before putting back: a task that failed here is offered to others first, and never
-- to this very turn. If nobody has room and the caller got nothing else, it is rung to
-- come again; likewise if there is more to look at.
local function take_work(opened, ending, engine, again)
  local taken = take.tasks(opened, engine, nonce, want)
  redis.call("HSET", keys.engine(uuid),
    "number", ARGV[3], "nonce", nonce, "next", upcoming, "used", engine.used)
  -- With hwm 0 an engine that had a task and has one again is in no free set.
  if opened.hwm > 0 or #taken == 0 or not engine.was_busy then
    engines.show(opened, engine, #taken > 0)
  end
  local waiting = put_back(opened, ending, again)
  if (waiting > 0 or opened.looks_on) and #taken == 0 and want > 0 then
    engines.ring(uuid)
  end
  return taken
end

-- Seldom: a turn that takes nothing new. If it leaves the engine idle while there is work
-- for it, ring the engine.
local function only_report(opened, ending, engine, again)
  -- An engine that has never taken a turn is not free yet.
  if engine.number > 0 then
    engines.show(opened, engine)
  end
  put_back(opened, ending, again)
  if not engine.leaving and redis.call("LLEN", keys.engine(uuid, "bell")) == 0
    and held.is_empty(uuid)
    and (redis.call("ZCARD", keys.engine(uuid, "assigned")) > 0
      or take.any(opened, engine)) then
    engines.ring(uuid)
  end
end

-- End what this engine could not take and no other can.
local function rescue(opened, ending)
  if not opened.stranded then
    return ending
  end
  ending = ending or require("lib.settle").begin(opened)
  require("lib.again").rescue(opened, ending)
  require("lib.cascade").run(opened, ending)
  return ending
end

-- Write what was collected, and tell idle engines of what became ready.
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

-- Take tasks, or only report. Returns the word and what was taken.
local function act(opened, ending, engine, again, takes)
  if takes then
    return "ok", take_work(opened, ending, engine, again)
  end
  only_report(opened, ending, engine, again)
  if number and engine.nonce == nonce then
    if redis.call("EXISTS", keys.engine(uuid, "bell")) == 1 then
      -- What is in there may have begun all the same (lib/lose.lua).
      redis.call("HSET", keys.engine(uuid), "asked", nonce)
    end
    return "again", require("lib.work").repeated(opened, engine, nonce)
  end
  return number and "again" or "ok", {}
end

-- Seldom together: the general way.
local function general(opened, engine, takes)
  local good, stale = read_outcomes()
  if not good then
    return stale
  end
  engine.was_busy = good.any
  opened.reporter = uuid
  -- This queue is known to exist: the caller serves it.
  opened.served = engine.queues[1]

  -- Writes below.
  begin_writing(takes)
  local ending = begin(opened, good, stale)
  local again = ending and apply(opened, ending, engine, good, stale) or {}
  local word, taken = act(opened, ending, engine, again, takes)
  close(opened, rescue(opened, ending))
  return { word, #stale, unpack(taken) }
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
  -- A copy that arrives after a later turn takes nothing: nobody waits for it.
  local takes = number and engine.nonce ~= nonce and number >= engine.number
  return takes and brief.turn(opened, engine, number, nonce, upcoming, want)
    or general(opened, engine, takes)
end

return hub.run(main)
