-- folded: end many tasks on the sheet at once.
--
-- The path of large maps (lib/sheet.lua). What these tasks have in common is made once,
-- and of each only two arguments are looked at: "folded:n" token bytes (id value)*n, for
-- n tasks of one client that the engine took in one turn and that returned. A value is
-- "<ago> <took>", a short text of the result and the result, separated by NUL; `bytes` is
-- the total of results over 64 bytes. All other outcomes are read by lib/report.lua,
-- which also gets those of a block that have to be applied one by one.

local argument = require("lib.argument")
local batches = require("lib.batches")
local engines = require("lib.engines")
local fields = require("lib.fields")
local held = require("lib.held")
local keys = require("lib.keys")
local lots = require("lib.lots")
local settle = require("lib.settle")
local sheet = require("lib.sheet")

-- Longer values are counted.
local COMPACT = 64
-- Length of a block before its pairs.
local HEAD = 3

-- Is this an outcome as blocks have them?
local function is_value(text)
  return string.find(text, "^%d+ %d+%z[^%z]+%z.") ~= nil
end

-- Seldom: does a block begin at `at` in ARGV?
local function is_block(at)
  return ARGV[at] ~= nil and string.find(ARGV[at], "^folded:") ~= nil
end

-- Seldom: that block and where it ends; or nil and what is wrong with it.
local function parse(at)
  local count = argument.count(string.match(ARGV[at], "^folded:(%d+)$"))
  local from, bytes = at + HEAD, argument.count(ARGV[at + 2])
  local last = count and from + 2 * count - 1
  if not count or count == 0 or not bytes or last > #ARGV then
    return nil, "a block of outcomes that is none at argument " .. at
  end
  local ids, number = {}, 1
  for place = from, last, 2 do
    if not is_value(ARGV[place + 1]) then
      return nil, "an outcome that is none at argument " .. place
    end
    ids[number] = ARGV[place]
    number = number + 1
  end
  return { token = ARGV[at + 1], bytes = bytes, from = from, ids = ids }, last + 1
end

-- Seldom: how many bytes of a value count.
local function weight_of(value)
  local size = #value - string.match(value, "^[^%z]*%z[^%z]*%z()") + 1
  return size > COMPACT and size or 0
end

-- Seldom: an outcome of a block in the form of any other, with its text.
local function outcome_of(block, at, found)
  local took, text, from = string.match(ARGV[at + 1], "^([^%z]*)%z([^%z]*)%z()")
  return {
    kind = "ok", id = ARGV[at], token = block.token, score = held.score(ARGV[at], found),
    ago = tonumber(string.match(took, "^%d+")), took = took, text = text,
    body = string.sub(ARGV[at + 1], from), at = at, count = 0, along = held.is_along(found),
  }
end

-- Where in ARGV the outcome with this number is.
local function place_of(block, number)
  return block.places and block.places[number] or block.from + 2 * (number - 1)
end

-- Seldom: keep in the block only those for which `keeps(number, at)` is true.
local function filter(block, keeps)
  local ids, places = {}, {}
  for number, id in ipairs(block.ids) do
    local at = place_of(block, number)
    if keeps(number, at) then
      ids[#ids + 1], places[#places + 1] = id, at
    else
      block.bytes = block.bytes - weight_of(ARGV[at + 1])
    end
  end
  block.ids, block.places = ids, places
end

-- Seldom: move to `odd` those that were given to others, or that are no longer on the
-- sheet.
local function part(block, entries, fence, odd)
  filter(block, function(number, at)
    local found = entries[number]
    if not found or string.find(found, fence, 1, true) ~= 1 then
      odd.stale[#odd.stale + 1] = { id = block.ids[number], token = block.token }
      return false
    elseif not held.is_folded(found) then
      odd.good[#odd.good + 1] = outcome_of(block, at, found)
      return false
    end
    return true
  end)
end

-- Seldom: keep in blocks only what has not been `seen`.
local function filter_new(blocks, seen)
  for _, block in ipairs(blocks) do
    filter(block, function(number)
      local id = block.ids[number]
      local is_new = not seen[id]
      seen[id] = true
      return is_new
    end)
  end
end

-- Seldom: compare a block with what the engine holds. `odd` gets what cannot end with the
-- others: `good` outcomes, and `stale` ones, id and token. If the block is the first part
-- of a lot, `rest` is what is left of that; `seen` has the lots of blocks before it.
local function check(block, uuid, odd, seen)
  block.rest = not seen[block.token] and lots.without(uuid, block.token, block.ids) or nil
  seen[block.token] = true
  if block.rest then
    return
  end
  local entries, fence = held.read(uuid, block.ids), block.token .. " "
  local first = entries[1]
  local same = first and held.is_folded(first) and string.find(first, fence, 1, true) == 1
  for number = 2, #block.ids do
    if entries[number] ~= first then
      same = false
    end
  end
  if not same then
    part(block, entries, fence, odd)
  end
end

-- What precedes the values of a block in the runs of its tasks.
local function head_of(opened, engine, token)
  return table.concat({ "c", engines.name_of(engine), token, fields.heard(opened), "" }, "\0")
end

-- Seldom: end all tasks of a block.
local function apply(opened, ending, engine, block)
  local head = head_of(opened, engine, block.token)
  local ended, client = settle.list(ending, "running", "completed"), settle.owner(block.ids[1])
  local runs, last, at, size, told = {}, 0, ended.length, 0, 1
  local ids, places, expiry, from = block.ids, block.places, ending.expiry, block.from - 1
  for number = 1, #ids do
    local id = ids[number]
    local run = head .. ARGV[places and places[number] + 1 or from + 2 * number]
    runs[last + 1], runs[last + 2] = id, run
    ended[at + 1], ended[at + 2] = expiry, id
    last, at, size = last + 2, at + 2, size + #run
    if size > settle.MOST_ENTRY then
      settle.say(client, runs, told, last)
      told, size = last + 1, 0
    end
  end
  ended.length = at
  batches.each("HSET", keys.runs, runs)
  if told <= last then
    settle.say(client, runs, told, last)
  end
  ending.bytes = ending.bytes + block.bytes
end

-- Seldom: abort tasks that nobody has begun; `rows` are theirs, in order.
local function abort(opened, ending, ids, rows, verdict, reason)
  local words = verdict .. " " .. reason
  local run, runs, lines = sheet.verdict(opened.stamp, words), {}, {}
  for number, id in ipairs(ids) do
    local _, queue = sheet.line_of(rows[number])
    lines[queue] = lines[queue] or {}
    table.insert(lines[queue], id)
    runs[2 * number - 1], runs[2 * number] = id, run
    settle.outcome(ending, id, "ready", "aborted", "", nil, "v", words)
  end
  for queue, members in pairs(lines) do
    batches.zrem(keys.ready(queue, ""), members)
    settle.leave_queue(ending, queue)
  end
  batches.hset(keys.runs, runs)
end

return {
  is_block = is_block,
  parse = parse,
  filter_new = filter_new,
  check = check,
  is_value = is_value,
  head_of = head_of,
  apply = apply,
  abort = abort,
}
