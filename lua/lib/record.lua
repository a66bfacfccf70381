-- record: write a task's hash so that it stays in the compact encoding.
--
-- Redis keeps a hash in a listpack while every value is at most 64 bytes
-- (hash-max-listpack-value). Longer ones stand in a string of their own beside
-- the record, and the field is empty to say so; no field is ever empty else.

local keys = require("lib.keys")

local COMPACT = 64

local record = {}

-- The fields that may stand beside the record.
record.PARTS = { "args", "result", "error", "stdout", "stderr" }

-- HSET with `fields` (flat: name, value ...) and more such pairs.
function record.write(id, fields, ...)
  for at = 2, #fields, 2 do
    if #fields[at] > COMPACT then
      redis.call("SET", keys.task(id, fields[at - 1]), fields[at])
      fields[at] = ""
    end
  end
  local size = #fields
  for at = 1, select("#", ...) do
    fields[size + at] = (select(at, ...))
  end
  redis.call("HSET", keys.task(id), unpack(fields))
end

-- One field, wherever it stands; nil when the task has none such.
function record.part(id, name, value)
  if value == "" then
    return redis.call("GET", keys.task(id, name)) or nil
  end
  return value or nil
end

return record
