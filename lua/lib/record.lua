-- record: a task's record, wherever it is kept, in the compact encoding.
--
-- A record is a hash of its own, or on the sheet with others (lib/sheet.lua) until it is
-- written to: read any task's with `get`, and write to what `key` returns.
--
-- Redis keeps a hash in a listpack while every value is at most 64 bytes
-- (hash-max-listpack-value). Longer ones are strings of their own beside the record, and
-- the field is empty to say so; no other field is ever empty.

local keys = require("lib.keys")
local parcel = require("lib.parcel")
local weight = require("lib.weight")

local COMPACT = 64

-- What this script has read of records on the sheet, by id.
local seen = {}

-- The fields that may be stored beside the record.
local function parts()
  return {
    "args", "result", "error", "stdout", "stderr", "after", "follow", "targets", "refs",
  }
end

-- The value for the record's field: itself, or "" when it was stored beside it.
local function fit(id, name, value)
  if #value <= COMPACT then
    return value
  end
  redis.call("SET", keys.task(id, name), value)
  return ""
end

-- The value for the field of a new record's arguments, and the record's marks: large
-- arguments get the mark b.
local function arguments(id, args, marks)
  local size = #args
  if size > COMPACT then
    redis.call("SET", keys.task(id, "args"), args)
  elseif args == parcel.PARCEL then
    size = parcel.take(id, "args")
  else
    return args, marks
  end
  if size > weight.SMALL then
    marks = (marks or "") .. "b"
  end
  return "", marks
end

-- Seldom: the value of a field, wherever it is stored; nil if the task has none.
local function part(id, name, value)
  if value == "" then
    return redis.call("GET", keys.task(id, name)) or nil
  end
  return value or nil
end

-- Seldom: a task's row, run and fields, flat, on the sheet; nil if it is not there.
local function look(id)
  local one = seen[id]
  if not one then
    local row, run = require("lib.sheet").find(id)
    if not row then
      return nil
    end
    one = { row = row, run = run }
    seen[id] = one
  end
  one.flat = one.flat or require("lib.sheet").unpacked(one.row, one.run)
  return one
end

-- Seldom: what `get` returns of a record on the sheet; nil if it is not there.
local function from_sheet(id, names)
  local one = look(id)
  if not one then
    return nil
  end
  local fields, values = {}, {}
  for at = 1, #one.flat, 2 do
    fields[one.flat[at]] = one.flat[at + 1]
  end
  for at, name in ipairs(names) do
    values[at] = fields[name] or false
  end
  return values
end

-- Fields of any task's record, as from HMGET. The first must be one that every record
-- has.
local function get(id, ...)
  if seen[id] then
    return from_sheet(id, { ... })
  end
  local values = redis.call("HMGET", keys.task(id), ...)
  return values[1] and values or from_sheet(id, { ... }) or values
end

-- Seldom: read at once what the sheet has of these tasks.
local function read_ahead(ids)
  if #ids == 0 then
    return
  end
  local batches = require("lib.batches")
  local rows, runs = batches.hmget(keys.rows, ids), batches.hmget(keys.runs, ids)
  for number, id in ipairs(ids) do
    seen[id] = rows[number] and { row = rows[number], run = runs[number] } or nil
  end
end

-- Seldom: of those that `read_ahead` found, the ones that nobody has begun, and their
-- rows. They are about to end, so they are no longer remembered.
local function take_unbegun(ids)
  local found, rows = {}, {}
  for _, id in ipairs(ids) do
    local one = seen[id]
    if one and not one.run then
      found[#found + 1], rows[#rows + 1] = id, one.row
      seen[id] = nil
    end
  end
  return found, rows
end

-- Seldom: what was read of a task there is no longer true.
local function forget(id)
  seen[id] = nil
end

-- Seldom: is one that `read_ahead` found there running?
local function is_begun(id)
  local one = seen[id]
  return one ~= nil and one.run and string.find(one.run, "^%d") ~= nil
end

-- Seldom: a task there has not begun after all. Returns what placing needs of it, as
-- lib/depend.lua reads it.
local function unbegin(id)
  redis.call("HDEL", keys.runs, id)
  local row = seen[id] and seen[id].row or redis.call("HGET", keys.rows, id)
  seen[id] = { row = row }
  local fn, queue = require("lib.sheet").line_of(row)
  return { id = id, state = "ready", fn = fn, queue = queue, write = {}, drop = {} }
end

-- All fields of any task's record, flat; empty when there is none.
local function all(id)
  local flat = not seen[id] and redis.call("HGETALL", keys.task(id)) or {}
  if not flat[1] then
    local one = look(id)
    return one and one.flat or {}
  end
  return flat
end

-- Seldom: give the record a hash of its own, and say so in what its engine holds.
local function unfold(id)
  local one, run = seen[id], redis.call("HGET", keys.runs, id)
  if one and one.run ~= run then
    -- It began, or ended, since it was read.
    seen[id] = nil
  end
  one = look(id)
  seen[id] = nil
  if not one then
    return
  end
  require("lib.sheet").remove({ id })
  local flat = one.flat
  for at = 1, #flat, 2 do
    if flat[at] == "args" or flat[at] == "result" then
      flat[at + 1] = fit(id, flat[at], flat[at + 1])
    elseif flat[at] == "engine" and string.find(one.run, "^%d") then
      require("lib.held").unfold(flat[at + 1], id, string.match(one.row, "^%S+"))
    end
  end
  redis.call("HSET", keys.task(id), unpack(flat))
end

-- Is a record that this script has read on the sheet?
local function is_folded(id)
  return seen[id] ~= nil
end

-- The key of a record that this script has read: from now on it is a hash.
local function key(id)
  if seen[id] then
    unfold(id)
  end
  return keys.task(id)
end

-- Likewise for one that may not have been read.
local function own(id)
  local name = keys.task(id)
  if redis.call("EXISTS", name) == 0 then
    unfold(id)
  end
  return name
end

-- Is there a record of this task?
local function exists(id)
  if redis.call("EXISTS", keys.task(id)) == 1 then
    return true
  end
  return redis.call("HEXISTS", keys.rows, id) == 1
end

return {
  get = get,
  read_ahead = read_ahead,
  take_unbegun = take_unbegun,
  forget = forget,
  is_begun = is_begun,
  unbegin = unbegin,
  all = all,
  is_folded = is_folded,
  key = key,
  own = own,
  exists = exists,
  parts = parts,
  fit = fit,
  arguments = arguments,
  part = part,
}
