-- brief: a turn that reports one usual outcome or none, and takes one task or none.
--
-- Where tasks come one by one, such turns are nearly all there are, and most of what
-- turn.lua costs is not theirs. So the usual is done here, the short way: tasks on the
-- sheet (lib/sheet.lua), one queue, hwm 0, nothing rare. Anything else is left to the
-- general way before anything is written.
--
-- MOVES    running>completed ready>running

local engines = require("lib.engines")
local folded = require("lib.folded")
local held = require("lib.held")
local keys = require("lib.keys")
local report = require("lib.report")
local settle = require("lib.settle")
local sheet = require("lib.sheet")
local states = require("lib.states")

-- Index of the outcome in ARGV, and how many arguments a usual one has.
local FIRST, WIDTH = 6, 7
-- With fewer ready, an engine's share of them is one (lib/take.lua).
local FEW = 4
-- Longer results are counted.
local COMPACT = 64

-- May anything be waiting for this engine but the one line, or for others to be told?
local function is_alone(opened, engine)
  local letters = opened.rare or ""
  return opened.hwm == 0 and not opened.is_earlier and not engine.leaving and not engine.tied
    and not engine.queues[2] and (letters == ""
      or letters == "a" and redis.call("EXISTS", keys.engine(engine.uuid, "assigned")) == 0)
end

-- Is there one outcome, usual, of a task on the sheet that the engine holds?
local function is_usual(uuid)
  local id = ARGV[FIRST + 1]
  if #ARGV ~= FIRST + WIDTH - 1 or not report.is_usual(FIRST) or not folded.fits(FIRST) then
    return false
  end
  local found = redis.call("HGET", keys.engine(uuid, "held"), id)
  return found and string.find(found, ARGV[FIRST + 2] .. " ", 1, true) == 1
    and held.is_folded(found)
end

-- The first of the line and its row, if it is on the sheet: "" if the line is empty; nil
-- if the engine is to have several, or something else is first.
local function head_of(queue, want)
  local line = keys.ready(queue)
  local left = redis.call("ZCARD", line)
  if left == 0 then
    return ""
  elseif want > 1 and left >= FEW
    and left >= FEW * tonumber(redis.call("HGET", keys.queues, queue) or 1) then
    return nil
  end
  local id = redis.call("ZRANGE", line, 0, 0)[1]
  local row = redis.call("HGET", keys.rows, id)
  return row and id or nil, row
end

-- End the task, and tell its client.
local function complete(opened, engine)
  local given = ARGV
  local id, token, body = given[FIRST + 1], given[FIRST + 2], given[FIRST + 4]
  states.check("running", "completed")
  redis.call("HDEL", keys.engine(engine.uuid, "held"), id)
  redis.call("HSET", keys.runs, id, folded.run_of(opened, engine, FIRST))
  redis.call("ZADD", keys.ended("completed"), settle.expiry(opened, opened.result_ttl), id)
  redis.call("HINCRBY", keys.hub, "completed", "1")
  if #body > COMPACT then
    redis.call("HINCRBY", keys.hub, "kept_bytes", #body)
  end
  settle.say(settle.owner(id), { id, "c" .. token .. "\0r" .. body }, 1, 2)
  redis.call("HINCRBY", keys.engine(engine.uuid), "done", "1")
end

-- Start the first of the line.
local function start(opened, engine, nonce, id)
  states.check("ready", "running")
  redis.call("ZREM", keys.ready(engine.queues[1]), id)
  local run = sheet.begun("1:" .. nonce, engines.name_of(engine),
    string.format("%d", opened.stamp))
  redis.call("HSET", keys.runs, id, run)
  redis.call("HSET", keys.engine(engine.uuid, "held"), id, run)
  engines.use(engine)
end

-- Take such a turn, which is known to be the engine's next. Returns the reply; or nil, and
-- has done nothing, if it is not one.
local function turn(opened, engine, number, nonce, upcoming, want)
  local reports = #ARGV >= FIRST
  if want == 0 or not is_alone(opened, engine) or reports and not is_usual(engine.uuid) then
    return nil
  end
  local id, row = head_of(engine.queues[1], want)
  if not id then
    return nil
  end

  -- Writes below; all are allowed at maxmemory, as the first is.
  redis.call("UNLINK", keys.engine(engine.uuid, "bell"))
  if reports then
    complete(opened, engine)
  end
  if row then
    start(opened, engine, nonce, id)
  end
  redis.call("HSET", keys.engine(engine.uuid),
    "number", number, "nonce", nonce, "next", upcoming, "used", engine.used)
  if not row or not reports then
    engines.show(opened, engine, row ~= nil)
  end
  if not row then
    return { "ok", 0 }
  end
  local fn, args = sheet.read(row)
  return { "ok", 0, id, 1, fn, args, sheet.FOLDED }
end

return {
  turn = turn,
}
