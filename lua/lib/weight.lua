-- weight: how many bytes ended tasks take, so that the oldest leave when it is much.
--
-- R:hub has the sum of what stands beside their records in `kept_bytes`; small
-- arguments are not worth asking for, and count with the record.

local keys = require("lib.keys")
local sheet = require("lib.sheet")
local states = require("lib.states")

-- Arguments up to this size are not told from others. Larger ones have the mark b.
local SMALL = 1024
-- What is longer is counted.
local COMPACT = 64
-- Of a record with its entries in indexes, about.
local RECORD = 600
-- Room for ended tasks where Redis has no limit of its own.
local AUTOMATIC = 1073741824
-- With less than this kept, the server is not asked for its limit.
local LITTLE = 1048576

-- A part of an ended record: how much of it counts. It stands beside it.
local function of_part(id, name)
  if name ~= "args" and name ~= "result" and name ~= "error"
    and name ~= "stdout" and name ~= "stderr" then
    return 0
  end
  local size = redis.call("STRLEN", keys.task(id, name))
  return (name ~= "args" or size > SMALL) and size or 0
end

-- Of a result that stands on a sheet likewise: small ones count with the record.
local function of_run(run)
  local size = sheet.size_of(run)
  return size > COMPACT and size or 0
end

-- A quarter of what the server may use.
local function automatic(total)
  if total < LITTLE then
    return AUTOMATIC
  end
  local about = redis.pcall("INFO", "memory")
  local most = type(about) == "string" and string.match(about, "maxmemory:(%d+)")
  most = tonumber(most or 0)
  return most > 0 and most / 4 or AUTOMATIC
end

-- How many bytes more than there may be.
local function excess()
  local f = redis.call("HMGET", keys.hub, "kept_bytes", "keep_bytes")
  local total, most = tonumber(f[1] or 0), tonumber(f[2] or 0)
  for _, state in ipairs(states.ended()) do
    total = total + RECORD * redis.call("ZCARD", keys.ended(state))
  end
  return total - (most > 0 and most or automatic(total))
end

return {
  SMALL = SMALL,
  RECORD = RECORD,
  of_part = of_part,
  of_run = of_run,
  excess = excess,
}
