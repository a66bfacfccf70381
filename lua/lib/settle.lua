-- settle: make outcomes final and tell those who wait for them.
--
-- A script collects its outcomes and closes once: one ZADD per state and one
-- stream entry per client, however many tasks ended.
--
-- MOVES    waiting>completed waiting>failed waiting>aborted ready>failed ready>aborted
--          assigned>failed assigned>aborted
--          running>completed running>failed running>aborted

local batches = require("lib.batches")
local keys = require("lib.keys")
local states = require("lib.states")

-- The index of an ended state has four parts: tasks by when they are forgotten; those with
-- a retention of their own (2^51 and that time); and as many of those that are kept as
-- long as there is room, by age (2^52 and the time). No time comes near. So those with the
-- common retention are in the order in which they ended, and R:latest:<state> has the
-- others in theirs.
local FOREVER = 4503599627370496
local OWN = 2251799813685248

-- Outcomes up to this size are sent in the stream, as long as an entry stays below
-- MOST_ENTRY; waiters read larger ones from the record.
local MOST_INLINE = 1024
-- Longer values are stored beside the record.
local COMPACT = 64
local MOST_ENTRY = 16384
local KEPT_ENTRIES = "10000"
-- In one entry: Lua cannot pass many more.
local MOST_VALUES = 4000

local function expiry(opened, ttl)
  return string.format("%d", opened.stamp + (ttl > 0 and ttl or FOREVER))
end

-- Likewise with a retention of its own.
local function own_expiry(opened, ttl)
  return string.format("%d", OWN + opened.stamp + (ttl > 0 and ttl or FOREVER))
end

-- The common retention of tasks in this state, in ms; 0: as long as there is room.
-- Failures are kept as long as others, and as long as is set for them.
local function retention(opened, state)
  local usual = opened.result_ttl
  local longer = state == "failed" and redis.call("HGET", keys.hub, "failure_ttl")
  longer = tonumber(longer or usual) or usual
  return math.min(usual, longer) > 0 and math.max(usual, longer) or 0
end

local function begin(opened)
  return {
    opened = opened,
    ended = {},
    -- By state, those with a retention of their own: flat time and id.
    own = {},
    told = {},
    -- Bytes stored beside their records.
    bytes = 0,
    -- Ended tasks with dependents, flat id and state: lib/cascade.lua tells these.
    parents = {},
    -- The last client told, and the prefix of its ids: most come in a row. Of the last
    -- outcome told, what precedes its payload in the stream.
    prefix = "", entry = nil, token = nil, kind = nil, head = nil,
  }
end

local function entry_of(ending, client)
  local entry = ending.told[client]
  if not entry then
    entry = { size = 0, length = 0 }
    ending.told[client] = entry
  end
  return entry
end

-- The entry for the task's client, the first part of its id.
local function owner_entry(ending, id)
  local prefix = ending.prefix
  if prefix == "" or string.find(id, prefix, 1, true) ~= 1 then
    prefix = string.sub(id, 1, string.find(id, "-", 1, true))
    ending.prefix = prefix
    ending.entry = entry_of(ending, string.sub(prefix, 1, -2))
  end
  return ending.entry
end

local function tell(entry, id, head, payload)
  local at, size = entry.length, #payload
  entry.length = at + 2
  entry[at + 1] = id
  if size <= MOST_INLINE and entry.size + size <= MOST_ENTRY then
    entry.size = entry.size + size
    entry[at + 2] = head .. payload
  else
    entry[at + 2] = head
  end
end

-- Seldom: tell clients that wait for another client's task.
local function tell_watchers(ending, id, head, payload)
  local watchers = keys.task(id, "watchers")
  for _, client in ipairs(redis.call("SMEMBERS", watchers)) do
    tell(entry_of(ending, client), id, head, payload)
  end
  redis.call("UNLINK", watchers)
end

-- Seldom: rare properties, flagged in one field: w watchers, t a retention of its own, d
-- dependents, b big arguments, l listeners.
local function extras(ending, id, marks, head, payload)
  local after = ending.expiry
  if string.find(marks, "t", 1, true) then
    local ttl = redis.call("HGET", keys.task(id), "ttl")
    after = own_expiry(ending.opened, tonumber(ttl) or ending.opened.result_ttl)
    local own = ending.own[ending.to] or {}
    ending.own[ending.to] = own
    own[#own + 1], own[#own + 2] = ending.opened.stamp, id
  end
  if string.find(marks, "w", 1, true) then
    tell_watchers(ending, id, head, payload)
    redis.call("HSET", keys.task(id), "marks", (string.gsub(marks, "w", "")))
  end
  if string.find(marks, "l", 1, true) then
    require("lib.live").ended(id, ending.to)
  end
  if string.find(marks, "b", 1, true) then
    ending.bytes = ending.bytes + require("lib.weight").of_part(id, "args")
  end
  if string.find(marks, "d", 1, true) then
    local length = #ending.parents
    ending.parents[length + 1], ending.parents[length + 2] = id, ending.to
  end
  return after
end

-- Outcomes of the same move come in a row: what they share is looked up once.
local function turn_to(ending, from, to)
  states.check(from, to)
  local ended = ending.ended[to]
  if not ended then
    ended = {
      length = 0, expiry = expiry(ending.opened, retention(ending.opened, to)),
    }
    ending.ended[to] = ended
  end
  ending.from, ending.to, ending.list, ending.expiry = from, to, ended, ended.expiry
  ending.mark, ending.token = string.sub(to, 1, 1), nil
end

-- The list, flat score and id, for tasks that end by this move.
local function list(ending, from, to)
  turn_to(ending, from, to)
  return ending.list
end

-- The client that submitted a task.
local function owner(id)
  return string.match(id, "^[^-]*")
end

-- Tell a client of outcomes, flat id and value. NOMKSTREAM: one that does not listen has
-- no stream, and costs nothing but this.
local function say(client, flat, from, to)
  redis.call("XADD", keys.done(client), "NOMKSTREAM", "MAXLEN", "~", KEPT_ENTRIES, "*",
    unpack(flat, from, to))
end

-- Tell those who wait for it that `id` has ended; its record is written already, and
-- `marks` is its field of that name. The kind says what `payload` is: r a result, e an
-- error (both signed by the engine), v the hub's own verdict. Returns the score with
-- which it is listed, if it is a task.
local function announce(ending, id, from, to, token, marks, kind, payload)
  if ending.to ~= to or ending.from ~= from then
    turn_to(ending, from, to)
  end
  local head = ending.head
  if ending.token ~= token or ending.kind ~= kind then
    head = ending.mark .. token .. "\0" .. kind
    ending.head, ending.token, ending.kind = head, token, kind
  end
  local after = ending.expiry
  if marks and marks ~= "" then
    after = extras(ending, id, marks, head, payload)
  end
  tell(owner_entry(ending, id), id, head, payload)
  return after
end

-- End one task: tell of it as `announce` does, list it and count it.
local function outcome(ending, id, from, to, token, marks, kind, payload)
  local after = announce(ending, id, from, to, token, marks, kind, payload)
  local ended = ending.list
  local at = ended.length
  ended.length = at + 2
  ended[at + 1], ended[at + 2] = after, id
  if #payload > COMPACT and kind ~= "v" then
    ending.bytes = ending.bytes + #payload
  end
end

-- Seldom: a task of this queue ends without an engine. It may have been the last there.
local function leave_queue(ending, queue)
  ending.left = ending.left or {}
  ending.left[queue] = true
end

-- Seldom: forget queues that had their last tasks.
local function drop_queues(left)
  for queue in pairs(left) do
    require("lib.queues").drop_unused(queue)
  end
end

-- Seldom: an event for what has failed for good, and how many more have at once.
local function tell_failure(opened, failure)
  require("lib.story").tell(opened, "failed", "task", failure.id, "engine", failure.uuid,
    "try", failure.tries, "why", failure.why,
    unpack(failure.more > 0 and { "more", failure.more } or {}))
end

-- Write what was collected.
local function close(ending)
  for state, ended in pairs(ending.ended) do
    if ended.length > 0 then
      batches.zadd(keys.ended(state), ended)
      redis.call("HINCRBY", keys.hub, state, ended.length == 2 and "1" or ended.length / 2)
    end
  end
  for state, own in pairs(ending.own) do
    batches.zadd(keys.latest(state), own)
  end
  if ending.bytes > 0 then
    redis.call("HINCRBY", keys.hub, "kept_bytes", ending.bytes)
  end
  for client, entry in pairs(ending.told) do
    for from = 1, entry.length, MOST_VALUES do
      say(client, entry, from, math.min(from + MOST_VALUES - 1, entry.length))
    end
  end
  if ending.left then
    drop_queues(ending.left)
  end
  if ending.failure then
    tell_failure(ending.opened, ending.failure)
  end
end

-- Seldom: list one that ended and is not listed: by its record, now.
local function relist(opened, f)
  if not f.ttl then
    local after = expiry(opened, retention(opened, f.state))
    redis.call("ZADD", keys.ended(f.state), after, f.id)
    return
  end
  local ttl = tonumber(f.ttl) or opened.result_ttl
  redis.call("ZADD", keys.ended(f.state), own_expiry(opened, ttl), f.id)
  redis.call("ZADD", keys.latest(f.state), opened.stamp, f.id)
end

-- End one running task on the sheet, the short way. `run` is its outcome, for the stream,
-- and `bytes` what counts of its result.
local function complete(opened, id, run, bytes)
  states.check("running", "completed")
  redis.call("ZADD", keys.ended("completed"), expiry(opened, opened.result_ttl), id)
  redis.call("HINCRBY", keys.hub, "completed", "1")
  if bytes ~= "0" then
    redis.call("HINCRBY", keys.hub, "kept_bytes", bytes)
  end
  say(owner(id), { id, run }, 1, 2)
end

return {
  FOREVER = FOREVER,
  OWN = OWN,
  MOST_ENTRY = MOST_ENTRY,
  retention = retention,
  begin = begin,
  list = list,
  owner = owner,
  say = say,
  announce = announce,
  outcome = outcome,
  leave_queue = leave_queue,
  close = close,
  relist = relist,
  complete = complete,
}
