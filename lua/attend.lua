-- attend: start listening to what these tasks report while they run.
--
-- KEYS     root
-- ARGV     now (id)*
-- RETURNS  {"ok", (state worker engine token)*}
-- MOVES    -
-- ERRORS   NOHUB SCHEMA SCHEME NOW BADARG
-- COST     O(ids)
--
-- One group per id, in order; state is `unknown` if there is no record. For a running
-- task also who runs it, else "". From now on the stream beside the record tells when an
-- attempt begins and when the task ends; what is printed in between the worker sends to
-- whoever asks for it.

local argument = require("lib.argument")
local engines = require("lib.engines")
local hub = require("lib.hub")
local keys = require("lib.keys")
local record = require("lib.record")
local reply = require("lib.reply")
local states = require("lib.states")

local MOST = 500

local function mark(id, marks, runs_on)
  if not string.find(marks, "l", 1, true) then
    redis.call("HSET", record.key(id), "marks", marks .. "l")
    if runs_on then
      require("lib.held").mark(runs_on, id)
    end
  end
end

local function add(answer, id)
  local f = argument.is_id(id) and record.get(id,
    "state", "engine", "token", "marks") or {}
  local state, worker, engine, token = f[1] or "unknown", "", "", ""
  if f[1] and not states.is_ended(state) then
    mark(id, f[4] or "", state == "running" and f[2])
    if state == "running" then
      worker = engines.worker_of(engines.uuid_of(f[2])) or ""
      engine, token = f[2], f[3]
    end
  end
  local last = #answer
  answer[last + 1], answer[last + 2] = state, worker
  answer[last + 3], answer[last + 4] = engine, token
end

local function main()
  if #ARGV - 1 > MOST then
    return reply.fail("BADARG", "attend takes at most " .. MOST .. " ids")
  end

  -- Writes below. The first is allowed at maxmemory.
  redis.call("PERSIST", keys.hub)
  local answer = { "ok" }
  record.read_ahead({ unpack(ARGV, 2) })
  for at = 2, #ARGV do
    add(answer, ARGV[at])
  end
  return answer
end

return hub.run(main)
