-- abort: end tasks now, unless an engine has begun them.
--
-- KEYS     root
-- ARGV     now running (id)*
-- RETURNS  {"ok", ("aborted" | "running" | "ended" | "unknown")*}
-- MOVES    -
-- ERRORS   NOHUB SCHEMA SCHEME NOW BADARG
-- COST     O(ids * log ready + dependents told), at most 100 of those
--
-- One word per id, in order. Needs no living engine, and never retries. With `running` 1
-- a running task is marked and ends aborted whatever its attempt reports, unless it
-- completes first. Its word is then `running worker engine token`: the supervisor to
-- tell, and what to interrupt.

local argument = require("lib.argument")
local cascade = require("lib.cascade")
local depend = require("lib.depend")
local engines = require("lib.engines")
local finish = require("lib.finish")
local folded = require("lib.folded")
local hold = require("lib.hold")
local hub = require("lib.hub")
local keys = require("lib.keys")
local record = require("lib.record")
local reply = require("lib.reply")
local settle = require("lib.settle")
local states = require("lib.states")

local MOST = 500
-- Index of the first id in ARGV.
local IDS = 3

local interrupt = ARGV[2] == "1"

local function mark(task)
  local marked = { id = task.id, marks = task.marks or "" }
  if depend.mark(marked, "x") then
    redis.call("HSET", record.key(task.id), "marks", marked.marks)
    require("lib.held").mark(task.engine, task.id)
  end
  local uuid = engines.uuid_of(task.engine)
  local worker = engines.worker_of(uuid) or "-"
  return "running " .. worker .. " " .. uuid .. " " .. task.token
end

local function abort(opened, ending, id)
  local task = argument.is_id(id) and depend.read(id)
  if not task then
    return "unknown"
  elseif states.is_ended(task.state) then
    return "ended"
  elseif task.state == "running" then
    return interrupt and mark(task) or "running"
  end
  finish.task(opened, ending, task, "aborted", "aborted", "on request")
  return "aborted"
end

-- End at once the tasks that are on the sheet and that no engine has begun: many, when a
-- map is aborted. Returns their ids as a set.
local function abort_folded(opened, ending, ids)
  local aborted = {}
  record.read_ahead(ids)
  local unbegun, rows = record.take_unbegun(ids)
  if #unbegun > 0 then
    folded.abort(opened, ending, unbegun, rows, "aborted", "on request")
  end
  for _, id in ipairs(unbegun) do
    aborted[id] = true
  end
  return aborted
end

local function main(opened)
  if #ARGV - IDS + 1 > MOST then
    return reply.fail("BADARG", "abort takes at most " .. MOST .. " ids")
  end

  -- Writes below. The first is allowed at maxmemory.
  redis.call("PERSIST", keys.hub)
  local ending = settle.begin(opened)
  local answer, aborted = { "ok" }, abort_folded(opened, ending, { unpack(ARGV, IDS) })
  for at = IDS, #ARGV do
    local id = ARGV[at]
    answer[#answer + 1] = aborted[id] and "aborted" or abort(opened, ending, id)
    -- An id given twice is answered `ended` the second time.
    aborted[id] = nil
  end
  cascade.run(opened, ending)
  settle.close(ending)
  hold.advance(opened)
  return answer
end

return hub.run(main)
