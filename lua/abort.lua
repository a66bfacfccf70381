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

local argument = require("lib.argument")
local engines = require("lib.engines")
local hub = require("lib.hub")
local keys = require("lib.keys")
local reply = require("lib.reply")
local settle = require("lib.settle")
local states = require("lib.states")

local MOST = 500

local function remove(opened, id, state, queue, name)
  if state == "ready" then
    redis.call("ZREM", keys.ready(queue), id)
    return
  end
  local uuid = engines.uuid_of(name)
  redis.call("ZREM", keys.engine(uuid, "assigned"), id)
  local engine = engines.find(uuid)
  if engine then
    engines.show(opened, engine)
  end
end

local function abort(opened, ending, id)
  if not argument.is_id(id) then
    return "unknown"
  end
  local f = redis.call("HMGET", keys.task(id), "state", "queue", "engine", "ends", "token")
  local state = f[1]
  if not state then
    return "unknown"
  elseif states.is_ended(state) then
    return "ended"
  elseif state == "running" then
    return "running"
  end
  remove(opened, id, state, f[2] or "default", f[3])
  redis.call("HSET", keys.task(id), "state", "aborted", "verdict", "aborted",
    "ended", opened.stamp)
  settle.outcome(ending, id, state, "aborted", f[5] or "", f[4], "v", "aborted ")
  return "aborted"
end

local function main(opened)
  if #ARGV - 1 > MOST then
    return reply.fail("BADARG", "abort takes at most " .. MOST .. " ids")
  end

  -- Writes below: the first is one that a full Redis allows.
  redis.call("PERSIST", keys.hub)
  local ending = settle.begin(opened)
  local answer = { "ok" }
  for at = 2, #ARGV do
    answer[at] = abort(opened, ending, ARGV[at])
  end
  settle.close(ending)
  return answer
end

return hub.run(main)
