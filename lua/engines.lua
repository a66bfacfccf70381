-- engines: a page of the living engines, by label.
--
-- KEYS     root
-- ARGV     now first count text
-- RETURNS  {"ok", next, rows}
-- MOVES    -
-- ERRORS   NOHUB SCHEMA SCHEME NOW BADARG
-- COST     O(log engines + count), of 1 to 200 and at most 200 looked at
--
-- Those labelled `first` or higher that have `text` in their label, uuid, worker or
-- queues. `next` is the label to continue from, -1 at the end. A row: uuid, label,
-- worker, queues, assigned, held, lease, joined, done (how many tasks ended on it), state
-- ("", drained, leaving); and, if it holds at most 20 tasks, the first of them: id,
-- function, when it was taken.

local argument = require("lib.argument")
local held = require("lib.held")
local hub = require("lib.hub")
local keys = require("lib.keys")
local page = require("lib.page")
local record = require("lib.record")
local reply = require("lib.reply")

-- The fields of an engine that a row is made of.
local ABOUT = { "id", "worker", "queues", "joined", "done", "leaving", "drained" }
-- Of an engine that holds more, no task is looked up: they are short.
local FEW = 20

local first, count = argument.count(ARGV[2]), page.count(ARGV[3])
local text = string.lower(ARGV[4] or "")

local function task_of(uuid, taken, names)
  local id
  if taken == 1 then
    id = held.names(uuid, 1)[1]
  elseif taken > 1 and taken <= FEW then
    id = held.first(uuid, 1)[1].id
  end
  if not id then
    return "", "", ""
  end
  local f = record.get(id, "fn", "started")
  return id, page.function_of(names, f[1]), f[2] or ""
end

local function add(opened, rows, uuid, f, names)
  local ends = redis.call("ZSCORE", keys.engines, uuid) or opened.now
  local taken = held.count(uuid)
  local id, name, started = task_of(uuid, taken, names)
  local state = f[7] and "drained" or f[6] and "leaving" or ""
  local row = {
    uuid, tonumber(f[1]), f[2], f[3],
    redis.call("ZCARD", keys.engine(uuid, "assigned")), taken,
    math.floor(ends - opened.now), tonumber(f[4]), tonumber(f[5] or 0),
    state, id, name, started,
  }
  for _, value in ipairs(row) do
    rows[#rows + 1] = value
  end
end

-- The fields of an engine that belongs on the page; else nil.
local function found(uuid)
  local key = keys.engine(uuid)
  if text ~= "" then
    local f = redis.call("HMGET", key, "id", "worker", "queues")
    if not page.has(text, { f[1], f[2], f[3], uuid }, 4) then
      return nil
    end
  end
  local f = redis.call("HMGET", key, unpack(ABOUT))
  return f[1] and f or nil
end

local function main(opened)
  if not first or not count then
    return reply.fail("BADARG", "a page has 1 to " .. page.MOST .. " engines, from a label on")
  end
  hub.read_clock(opened)
  -- One more than is examined tells where to continue.
  local living = redis.call("ZRANGEBYSCORE", keys.labels, first, "+inf", "WITHSCORES",
    "LIMIT", 0, page.MOST + 1)
  local rows, names, shown = {}, {}, 0
  for at = 1, #living, 2 do
    local uuid, label = living[at], tonumber(living[at + 1])
    if shown == count or at > 2 * page.MOST then
      return { "ok", label, rows }
    end
    local f = found(uuid)
    if f then
      add(opened, rows, uuid, f, names)
      shown = shown + 1
    end
  end
  return { "ok", -1, rows }
end

return hub.run(main)
