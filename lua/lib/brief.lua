-- brief: a turn that reports one usual outcome or none, and takes one task or none.
--
-- Where tasks come one by one, such turns are nearly all there are, and most of what
-- turn.lua costs is not theirs. So the usual is done here, the short way: tasks on the
-- sheet (lib/sheet.lua), one queue, hwm 0, nothing rare. Anything else is left to the
-- general way before anything is written.

local engines = require("lib.engines")
local folded = require("lib.folded")
local held = require("lib.held")
local keys = require("lib.keys")
local settle = require("lib.settle")
local sheet = require("lib.sheet")
local work = require("lib.work")

-- Where in ARGV a block with one outcome (lib/folded.lua) begins, and where its parts are.
local FIRST, TOKEN, BYTES, ID, VALUE = 6, 7, 8, 9, 10
-- With fewer ready, an engine's share of them is one (lib/take.lua).
local FEW = 4

-- May anything be waiting for this engine but the one line, or for others to be told?
local function is_alone(opened, engine)
  local letters = opened.rare or ""
  return opened.hwm == 0 and not opened.is_earlier and not engine.leaving and not engine.tied
    and not engine.queues[2] and (letters == ""
      or letters == "a" and redis.call("EXISTS", keys.engine(engine.uuid, "assigned")) == 0)
end

-- Is there one outcome, of a task on the sheet that the engine holds?
local function is_usual(uuid)
  if ARGV[FIRST] ~= "folded:1" or #ARGV ~= VALUE or not folded.is_value(ARGV[VALUE])
    or ARGV[BYTES] ~= "0" and not string.find(ARGV[BYTES], "^[1-9]%d?%d?%d?$") then
    return false
  end
  local found = redis.call("HGET", keys.engine(uuid, "held"), ARGV[ID])
  return found and string.find(found, ARGV[TOKEN] .. " ", 1, true) == 1
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
  local id = redis.call("ZRANGE", line, "0", "0")[1]
  local row = redis.call("HGET", keys.rows, id)
  return row and id or nil, row
end

-- End the task that the outcome is of, and start the first of the line, if there are such.
local function act(opened, engine, nonce, reports, id)
  local runs, last = {}, 0
  if reports then
    local ended = ARGV[ID]
    local run = folded.head_of(opened, engine, ARGV[TOKEN]) .. ARGV[VALUE]
    redis.call("HDEL", keys.engine(engine.uuid, "held"), ended)
    settle.complete(opened, ended, run, ARGV[BYTES])
    runs[1], runs[2], last = ended, run, 2
  end
  if id ~= "" then
    redis.call("ZREM", keys.ready(engine.queues[1]), id)
    engines.use(engine)
    runs[last + 1], runs[last + 2] = id, work.start_one(opened, engine, nonce, id)
  end
  if runs[1] then
    redis.call("HSET", keys.runs, unpack(runs))
  end
end

-- Take such a turn, which is known to be the engine's next. Returns the reply; or nil, and
-- has done nothing, if it is not one.
local function turn(opened, engine, number, nonce, upcoming, want)
  local uuid, reports = engine.uuid, #ARGV >= FIRST
  if want == 0 or not is_alone(opened, engine) or reports and not is_usual(uuid) then
    return nil
  end
  local id, row = head_of(engine.queues[1], want)
  if not id then
    return nil
  end

  -- Writes below; the first is allowed at maxmemory, as reports must get through.
  redis.call("UNLINK", keys.engine(uuid, "bell"))
  act(opened, engine, nonce, reports, id)
  redis.call("HSET", keys.engine(uuid), "number", number, "nonce", nonce, "next", upcoming,
    "used", engine.used, "done", string.format("%d", engine.done + (reports and 1 or 0)))
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
