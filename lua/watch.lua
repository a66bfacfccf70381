-- watch: the outcomes of these tasks, now or later through this client's stream.
--
-- KEYS     root
-- ARGV     now client budget (id)*
-- RETURNS  {"ok", position, (state token kind payload)*}
-- MOVES    -
-- ERRORS   NOHUB SCHEMA SCHEME NOW BADARG
-- COST     O(ids)
--
-- One group per id, in order. State is `unknown` if there is no record, `purged` if it
-- was removed on request. Kind is r (a result), e (an error), v (the hub's verdict), ""
-- if it has not ended, and `-` if the payload did not fit the budget of bytes (the first
-- always does): ask for it again. Without a client it only reads, as maxmemory allows;
-- else the client's stream is made if there is none, and position is its last id.

local argument = require("lib.argument")
local hub = require("lib.hub")
local keys = require("lib.keys")
local record = require("lib.record")
local reply = require("lib.reply")
local states = require("lib.states")

-- A stream outlives its reader by an hour.
local STREAM = 3600000
local MOST = 500

local client, budget = ARGV[2], argument.count(ARGV[3])

-- The end of the client's stream. If there is none, it is made by adding an entry, after
-- which the reader starts.
local function listen()
  local stream = keys.done(client)
  local position
  if redis.call("EXISTS", stream) == 0 then
    position = redis.call("XADD", stream, "*", "", "")
  else
    local latest = redis.call("XREVRANGE", stream, "+", "-", "COUNT", 1)
    position = latest[1] and latest[1][1] or "0-0"
  end
  redis.call("PEXPIRE", stream, STREAM)
  return position
end

local function payload(id, f)
  if f[1] == "completed" then
    return "r", record.part(id, "result", f[2]) or ""
  end
  if f[4] then
    return "v", f[4] .. " " .. (f[5] or "")
  end
  return "e", record.part(id, "error", f[3]) or ""
end

local function size(id, f)
  local name = f[1] == "completed" and "result" or "error"
  local value = f[1] == "completed" and f[2] or f[3]
  if value == "" then
    return redis.call("STRLEN", keys.task(id, name))
  end
  return value and #value or 0
end

-- Have this client's stream told when another's task ends. `engine` is where it runs, if
-- it does.
local function register(id, engine)
  redis.call("SADD", keys.task(id, "watchers"), client)
  local key = record.key(id)
  local marks = redis.call("HGET", key, "marks") or ""
  if not string.find(marks, "w", 1, true) then
    redis.call("HSET", key, "marks", marks .. "w")
    if engine then
      require("lib.held").mark(engine, id)
    end
  end
end

-- Kind and payload of an ended task. `left` is the rest of the budget; it is nil for the
-- first payload, which always fits. Also returns the new rest.
local function tell(id, f, left)
  local bytes = size(id, f)
  if left and bytes > left then
    return "-", "", left
  end
  local kind, text = payload(id, f)
  return kind, text, (left or budget) - bytes
end

local function missing(id)
  return require("lib.tombs").state_of(id) and "purged" or "unknown"
end

local function add(answer, id, own, left)
  local f = argument.is_id(id) and record.get(id,
    "state", "result", "error", "verdict", "reason", "token", "engine") or {}
  local state, kind, text = f[1] or missing(id), "", ""
  if states.is_ended(state) then
    kind, text, left = tell(id, f, left)
  elseif f[1] and client ~= "" and string.sub(id, 1, #own) ~= own then
    register(id, f[1] == "running" and f[7])
  end
  local last = #answer
  answer[last + 1], answer[last + 2] = state, f[6] or ""
  answer[last + 3], answer[last + 4] = kind, text
  return left
end

local function main()
  if not budget or #ARGV - 3 > MOST then
    return reply.fail("BADARG", "watch takes a budget and at most " .. MOST .. " ids")
  end
  if client ~= "" and (#client > 64 or not string.find(client, "^[a-z0-9]+$")) then
    return reply.fail("BADARG", "not a client: " .. client)
  end
  local answer = { "ok", client ~= "" and listen() or "" }
  record.read_ahead({ unpack(ARGV, 4) })
  local own, left = client .. "-", nil
  for at = 4, #ARGV do
    left = add(answer, ARGV[at], own, left)
  end
  return answer
end

return hub.run(main)
