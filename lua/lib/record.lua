-- record: keep a task's hash in the compact encoding.
--
-- Redis keeps a hash in a listpack while every value is at most 64 bytes
-- (hash-max-listpack-value). Longer ones stand in a string of their own beside
-- the record, and the field is empty to say so; no field is ever empty else.

local keys = require("lib.keys")
local parcel = require("lib.parcel")
local weight = require("lib.weight")

local COMPACT = 64

-- The fields that may stand beside the record.
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
-- ones have the mark b.
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

-- Seldom: one field, wherever it stands; nil when the task has none such.
local function part(id, name, value)
  if value == "" then
    return redis.call("GET", keys.task(id, name)) or nil
  end
  return value or nil
end

return {
  parts = parts,
  fit = fit,
  arguments = arguments,
  part = part,
}
