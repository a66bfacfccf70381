-- abort: these tasks end now, unless an engine has begun them.
--
-- KEYS     root
-- ARGV     now (id)*
-- RETURNS  {"ok", ("aborted" | "running" | "ended" | "unknown")*}
-- MOVES    -
-- ERRORS   NOHUB SCHEMA SCHEME NOW BADARG
-- COST     O(ids * log ready)
--
-- One word per id, in order. Works with no engine alive; never retries.

local engines = require("lib.engines")
local hub = require("lib.hub")
local keys = require("lib.keys")
local reply = require("lib.reply")
local settle = require("lib.settle")

local MOST = 500

local opened, refused = hub.open()
if not opened then
  return refused
end
if #ARGV - 1 > MOST then
  return reply.fail("BADARG", "abort takes at most " .. MOST .. " ids")
end

local function remove(id, state, task)
  if state == "ready" then
    redis.call("ZREM", keys.ready(task.queue), id)
    return
  end
  redis.call("ZREM", keys.engine(task.engine, "assigned"), id)
  local engine = engines.find(task.engine)
  if engine then
    engines.show(opened, engine, engines.load(task.engine))
  end
end

-- Writes below: the first is one that a full Redis allows.
redis.call("PERSIST", keys.hub)
local ending = settle.begin(opened)
local answer = { "ok" }
for at = 2, #ARGV do
  local id = ARGV[at]
  local f = redis.call("HMGET", keys.task(id), "state", "queue", "engine", "ttl", "watched")
  local state = f[1]
  if not state then
    answer[at] = "unknown"
  elseif settle.is_ended[state] then
    answer[at] = "ended"
  elseif state == "running" then
    answer[at] = "running"
  else
    local task = { queue = f[2] or "default", engine = f[3], ttl = f[4], watched = f[5] }
    remove(id, state, task)
    settle.outcome(ending, id, state, "aborted", task, { "verdict", "aborted" }, "v", "aborted ")
    answer[at] = "aborted"
  end
end
settle.close(ending)
return answer
