-- weight: how many bytes ended tasks take, so that the oldest leave when it is too much.
--
-- R:hub has the sum of what is stored beside their records in `kept_bytes`; small
-- arguments are not worth asking for, and count with the record.

local keys = require("lib.keys")
local sheet = require("lib.sheet")
local states = require("lib.states")

-- Arguments up to this size count with the record. Larger ones have the mark b.
local SMALL = 1024
-- Longer values are counted.
local COMPACT = 64
-- A record with its entries in indexes, roughly.
local RECORD = 600
-- Room for ended tasks if Redis has no memory limit.
local AUTOMATIC = 1073741824
-- Below this total, the server is not asked for its limit.
local LITTLE = 1048576

-- How much of a part stored beside an ended record counts.
local function of_part(id, name)
  if name ~= "args" and name ~= "result" and name ~= "error"
    and name ~= "stdout" and name ~= "stderr" then
    return 0
  end
  local size = redis.call("STRLEN", keys.task(id, name))
  return (name ~= "args" or size > SMALL) and size or 0
end

-- Likewise of a result on the sheet: small ones count with the record.
local function of_run(run)
  local size = sheet.size_of(run)
  return size > COMPACT and size or 0
end

-- A quarter of the server's memory limit.
local function automatic(total)
  if total < LITTLE then
    return AUTOMATIC
  end
  local about = redis.pcall("INFO", "memory")
  local most = type(about) == "string" and string.match(about, "maxmemory:(%d+)")
  most = tonumber(most or 0)
  return most > 0 and most / 4 or AUTOMATIC
end

-- How many bytes more are kept than there may be.
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
