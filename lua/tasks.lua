-- tasks: a page of the tasks in one state.
--
-- KEYS     root
-- ARGV     now state from count text
-- RETURNS  {"ok", next, rows}
-- MOVES    -
-- ERRORS   NOHUB SCHEMA SCHEME NOW BADARG
-- COST     O(queues + log tasks + count), of 1 to 200; looks at 200 lines or engines, and
--          at 60 tasks for a text
--
-- Those that have `text` in their id or in a field shown. Waiting and ready ones in the
-- order in which they will run; assigned and running ones by the label of their engine;
-- ended ones latest first. `from` is "", or the `next` of an earlier page; `next` is "" at
-- the end. A row: id, number of fields, then name and value of each; `function` is the
-- function's name.

local argument = require("lib.argument")
local held = require("lib.held")
local hub = require("lib.hub")
local keys = require("lib.keys")
local latest = require("lib.latest")
local page = require("lib.page")
local record = require("lib.record")
local reply = require("lib.reply")
local states = require("lib.states")

-- Most records examined for a text.
local LOOKED = 60
-- Most queues with class lines, and most such lines from each index of them.
local CLASSES = 65

local FIELDS = {
  waiting = { "fn", "label", "submitted", "queue", "start", "gate" },
  ready = { "fn", "label", "submitted", "queue", "tries" },
  assigned = { "fn", "label", "submitted", "queue", "engine", "tries" },
  running = { "fn", "label", "submitted", "started", "queue", "engine", "tries", "progress" },
  completed = { "fn", "label", "submitted", "started", "took", "engine", "repr" },
  failed = {
    "fn", "label", "submitted", "started", "took", "ended", "engine", "tries", "ename",
    "evalue", "verdict", "reason", "resubmitted",
  },
  aborted = { "fn", "label", "submitted", "started", "ended", "engine", "reason" },
}

local state, from, count = ARGV[2], ARGV[3] or "", page.count(ARGV[4])
local text = string.lower(ARGV[5] or "")

-- Where to begin, as numbers; nil: no page named that.
local function position()
  local wanted, numbers = states.is_ended(state) and 4 or 2, {}
  for number in string.gmatch(from == "" and string.rep("0 ", wanted) or from, "%S+") do
    numbers[#numbers + 1] = argument.count(number)
  end
  return #numbers == wanted and numbers or nil
end

-- Indexes of the engines with this label or a higher one: a list of { at, key, uuid }.
local function of_engines(first, part)
  local found = {}
  local living = redis.call("ZRANGEBYSCORE", keys.labels, first, "+inf", "WITHSCORES",
    "LIMIT", 0, page.MOST + 1)
  for at = 1, #living, 2 do
    local uuid = living[at]
    found[#found + 1] = {
      at = tonumber(living[at + 1]), key = keys.engine(uuid, part), uuid = uuid,
    }
  end
  return found
end

-- Seldom: the lines of a queue that not all of its engines see.
local function classes_of(queue)
  local found = { require("lib.class").PICKY }
  for _, name in ipairs(redis.call("ZRANGE", keys.classes(queue), 0, CLASSES)) do
    found[#found + 1] = name
  end
  local prefix, seen = queue .. ":", {}
  for _, uuid in ipairs(redis.call("ZRANGE", keys.labels, 0, page.MOST - 1)) do
    for _, name in ipairs(redis.call("ZRANGE", keys.engine(uuid, "classes"), 0, CLASSES)) do
      if not seen[name] and string.sub(name, 1, #prefix) == prefix then
        seen[name] = true
        found[#found + 1] = string.sub(name, #prefix + 1)
      end
    end
  end
  return found
end

-- The lines, numbered, from number `first` on.
local function of_lines(first)
  local found, number = {}, 0
  local function list(queue, class)
    if number >= first and #found <= page.MOST then
      found[#found + 1] = { at = number, key = keys.ready(queue, class) }
    end
    number = number + 1
  end
  local queues = redis.call("HKEYS", keys.queues)
  table.sort(queues)
  for _, queue in ipairs(queues) do
    list(queue, "")
  end
  local apart = redis.call("HKEYS", keys.apart)
  table.sort(apart)
  for at = 1, math.min(#apart, CLASSES) do
    for _, class in ipairs(classes_of(apart[at])) do
      list(apart[at], class)
    end
  end
  return found
end

local function indexes(first)
  if state == "waiting" then
    return { { at = 0, key = keys.waiting } }
  elseif state == "ready" then
    return of_lines(first)
  end
  return of_engines(first, state == "running" and "held" or "assigned")
end

-- The ids in an index, from `rank` on.
local function members(index, rank)
  if state ~= "running" then
    return redis.call("ZRANGE", index.key, rank, rank + count - 1)
  end
  local ids, taken = {}, held.names(index.uuid, rank + count)
  for at = rank + 1, math.min(#taken, rank + count) do
    ids[#ids + 1] = taken[at]
  end
  return ids
end

local function add(rows, id, values)
  local wanted, row = FIELDS[state], { id, 0 }
  for at, name in ipairs(wanted) do
    local value = values[at]
    if value and value ~= "" then
      row[#row + 1], row[#row + 2] = at == 1 and "function" or name, value
    end
  end
  row[2] = (#row - 2) / 2
  for _, value in ipairs(row) do
    rows[#rows + 1] = value
  end
end

-- Add a task to the page if it belongs there. Returns whether it does.
local function show(found, id)
  local wanted = FIELDS[state]
  local values = record.get(id, unpack(wanted))
  values[1] = page.function_of(found.names, values[1])
  values[#wanted + 1] = id
  found.looked = found.looked + 1
  if not page.has(text, values, #wanted + 1) then
    return false
  end
  add(found.rows, id, values)
  found.shown = found.shown + 1
  return true
end

-- Show tasks until the page is full. Returns the number of the first that is not on it.
local function show_all(found, ids)
  record.read_ahead(ids)
  for at, id in ipairs(ids) do
    if found.shown == count or found.looked == LOOKED and text ~= "" then
      return at
    end
    show(found, id)
  end
end

-- Read on in one index from `rank`. Returns the place where the page became full, or nil.
local function read(found, index, rank)
  while true do
    local ids = members(index, rank)
    local full = show_all(found, ids)
    if full then
      return string.format("%d %d", rank + full - 1, index.at)
    end
    rank = rank + #ids
    if #ids < count then
      return nil
    end
  end
end

-- Likewise of ended ones, from those ranks.
local function read_ended(opened, found, ranks)
  local reader = latest.open(opened, state, ranks)
  while true do
    local list, ids = latest.next(reader, count), {}
    for at, one in ipairs(list) do
      ids[at] = one.id
    end
    local full = show_all(found, ids)
    if full then
      return list[full].at
    elseif #list < count then
      return ""
    end
  end
end

local function main(opened)
  local from_here = FIELDS[state] and position()
  if not count or not from_here then
    return reply.fail("BADARG", "a page has 1 to " .. page.MOST
      .. " tasks of one state, from a place that a page before named")
  end
  local found = { rows = {}, names = {}, shown = 0, looked = 0 }
  if states.is_ended(state) then
    return { "ok", read_ended(opened, found, from_here), found.rows }
  end
  local rank, first = from_here[1], from_here[2]
  for number, index in ipairs(indexes(first)) do
    if number > page.MOST then
      return { "ok", "0 " .. index.at, found.rows }
    end
    local full = read(found, index, index.at == first and rank or 0)
    if full then
      return { "ok", full, found.rows }
    end
  end
  return { "ok", "", found.rows }
end

return hub.run(main)
