-- order: the ids of a slice, and whether they are new.
--
-- Most tasks in bulk come in slices of one client, each with a greater number than the one
-- before it, and greater than any that the client has used (lib/newest.lua): then nothing
-- has to be looked for. Any other slice is irregular.

local argument = require("lib.argument")
local keys = require("lib.keys")
local newest = require("lib.newest")
local reply = require("lib.reply")

-- What is known before the tasks are looked at: lua/submit.lua compares each id with
-- `pattern` and its number with `last`. The pattern for no client matches no number.
local function begin(groups)
  local client, digits = newest.parts(ARGV[groups[1].from])
  return {
    client = client, first = tonumber(digits or 0), last = -1,
    pattern = client and "^" .. client .. "%-0([0-9]+)$" or "^(%-)$",
  }
end

-- Seldom: may the gate be one of the slice's tasks?
local function is_within(order, gate)
  local client, digits = newest.parts(gate)
  return client and client == order.client
    and tonumber(digits) >= order.first and tonumber(digits) <= order.last
end

-- Seldom: all ids.
local function ids_of(groups)
  local ids, length = {}, 0
  for _, group in ipairs(groups) do
    for at = group.from, group.from + 2 * group.count - 1, 2 do
      length = length + 1
      ids[length] = ARGV[at]
    end
  end
  return ids
end

-- Seldom: the error reply for ids that are none, or there twice.
local function check_irregular(groups)
  local seen = {}
  for _, id in ipairs(ids_of(groups)) do
    if not argument.is_id(id) or seen[id] then
      return reply.fail("BADARG", "not a task id, or one twice: " .. id)
    end
    seen[id] = true
  end
  for _, group in ipairs(groups) do
    if group.gate and seen[group.gate] then
      return reply.fail("BADARG", group.gate .. " is a gate and a task")
    end
  end
end

-- All tasks were looked at. Returns the error reply, if any.
local function check(order, groups)
  for _, group in ipairs(groups) do
    if group.gate and is_within(order, group.gate) then
      order.irregular = true
    end
  end
  return order.irregular and check_irregular(groups)
end

-- Seldom: has the hub none of these?
local function is_none_known(ids)
  local names = { keys.rows }
  for number, id in ipairs(ids) do
    names[number + 1] = keys.task(id)
  end
  local there = redis.call("EXISTS", unpack(names))
  if there ~= 1 or redis.call("EXISTS", keys.rows) == 0 then
    return there == 0
  end
  local rows = redis.call("HMGET", keys.rows, unpack(ids))
  for number = 1, #ids do
    if rows[number] then
      return false
    end
  end
  return true
end

-- Has the hub none of the slice's tasks?
local function is_new(order, groups)
  order.newest = order.client and newest.read(order.client)
  if not order.irregular and order.newest and order.first > order.newest then
    return true
  end
  return is_none_known(ids_of(groups))
end

-- Note the numbers that are used from now on, those of new gates included.
local function note(order, groups, gates)
  if order.irregular then
    newest.note_all(ids_of(groups))
  elseif order.last > (order.newest or -1) then
    newest.note(order.client, order.digits)
  end
  if gates[1] then
    newest.note_all(gates)
  end
end

return {
  begin = begin,
  check = check,
  is_new = is_new,
  note = note,
}
