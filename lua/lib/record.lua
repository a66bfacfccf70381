-- record: keep a task's hash in the compact encoding.
--
-- Redis keeps a hash in a listpack while every value is at most 64 bytes
-- (hash-max-listpack-value). Longer ones stand in a string of their own beside
-- the record, and the field is empty to say so; no field is ever empty else.

local keys = require("lib.keys")

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
  part = part,
}
