-- settle: make outcomes final and tell those who wait.
--
-- A script collects its outcomes and closes once: one ZADD per state and one
-- stream entry per client, however many tasks ended.
--
-- MOVES    running>completed running>failed ready>aborted assigned>aborted

local batches = require("lib.batches")
local keys = require("lib.keys")
local record = require("lib.record")
local states = require("lib.states")

local settle = {}

-- Outcomes up to this size ride in the stream, as long as an entry stays below
-- MOST_ENTRY; a waiter reads larger ones from the record.
local MOST_INLINE = 1024
local MOST_ENTRY = 16384
local KEPT_ENTRIES = 10000

local MARK = { completed = "c", failed = "f", aborted = "a" }

function settle.begin(opened)
  return { opened = opened, ended = {}, told = {}, counts = {} }
end

-- Whom to tell: who submitted is the first part of the id.
local function owner(id)
  return string.sub(id, 1, string.find(id, "-", 1, true) - 1)
end

local function tell(ending, client, id, head, payload)
  local entry = ending.told[client]
  if not entry then
    entry = { size = 0, fields = {} }
    ending.told[client] = entry
  end
  local small = #payload <= MOST_INLINE and entry.size + #payload <= MOST_ENTRY
  local fields = entry.fields
  fields[#fields + 1] = id
  if small then
    entry.size = entry.size + #payload
    fields[#fields + 1] = head .. payload
  else
    fields[#fields + 1] = head
  end
end

-- One task ends. `fields` are written to its record; `ttl` and `watched` are the
-- record's own. The kind says what `payload` is: r a result, e an error (both
-- signed by the engine), v the hub's own verdict.
function settle.outcome(ending, id, from, to, task, fields, kind, payload)
  states.check(from, to)
  local opened = ending.opened
  record.write(id, fields, "state", to, "ended", opened.stamp)
  local ended = ending.ended[to]
  if not ended then
    ended = {}
    ending.ended[to] = ended
  end
  local ttl = tonumber(task.ttl) or opened.result_ttl
  ended[#ended + 1] = ttl > 0 and opened.stamp + ttl or "+inf"
  ended[#ended + 1] = id
  local head = MARK[to] .. (task.token or "") .. "\0" .. kind
  tell(ending, owner(id), id, head, payload)
  if task.watched then
    local watchers = keys.task(id, "watchers")
    for _, client in ipairs(redis.call("SMEMBERS", watchers)) do
      tell(ending, client, id, head, payload)
    end
    redis.call("UNLINK", watchers)
    redis.call("HDEL", keys.task(id), "watched")
  end
end

-- Write what the outcomes have in common. NOMKSTREAM: a client that does not
-- listen has no stream, and costs nothing but this.
function settle.close(ending)
  for state, ended in pairs(ending.ended) do
    batches.call("ZADD", keys.ended(state), ended)
    redis.call("HINCRBY", keys.hub, state, #ended / 2)
  end
  for client, entry in pairs(ending.told) do
    redis.call("XADD", keys.done(client), "NOMKSTREAM",
      "MAXLEN", "~", KEPT_ENTRIES, "*", unpack(entry.fields))
  end
end

settle.is_ended = states.ended

return settle
