-- configure: make a hub, or change its settings.
--
-- KEYS     root
-- ARGV     now create fingerprint (name value)*
-- RETURNS  {"created" | "ok", fingerprint, left}
-- MOVES    -
-- ERRORS   NOHUB SCHEMA SCHEME NOW BADARG
-- COST     O(settings); when hwm or scheme changes, a copy of O(engines)
--
-- `create` is "1" to make the hub if there is none. `fingerprint` is that of the key that
-- signs its work; the first call stores it, and only the setting of that name changes it.
-- The reply has the hub's own fingerprint, for the caller to compare. Numeric settings
-- are in lib/settings.lua; there are also `scheme` and, for a user's own, `scheme_text`
-- and `scheme_signature`.
--
-- A hub made by an earlier release keeps its format, for workers of that release, until
-- `create` is "upgrade".
--
-- A new hwm or scheme affects every engine, and each call reranks only some: repeat it,
-- with nothing to set, while engines are `left`. After a change of scheme, repeat it with
-- the scripts of the new one.

local hub = require("lib.hub")
local keys = require("lib.keys")
local reply = require("lib.reply")
local rerank = require("lib.rerank")
local scheme_name = require("scheme_name")

local PIECE = 100
-- A week, in ms: what fails on a Friday evening is there on Monday.
local FAILURE_TTL = "604800000"

local create, upgrade, fingerprint = ARGV[2] == "1", ARGV[2] == "upgrade", ARGV[3]

-- The most frequently read fields first: a listpack is searched from its beginning.
local function make()
  local time = redis.call("TIME")
  redis.call("HSET", keys.hub, "format", hub.format(scheme_name), "hwm", 0,
    "result_ttl", 86400000, "rare", "", "submitted", 0, "used", 0, "completed", 0,
    "last", 0, "max_deaths", 3, "skew", 0, "grace", 0, "lease", 15000,
    "failure_ttl", FAILURE_TTL, "max_payload", 67108864, "keep_bytes", 0,
    "fingerprint", fingerprint,
    "dice", string.format("%.0f", (time[1] * 1000000 + time[2]) % 2147483646 + 1))
end

local function set(numbers, scheme, is_earlier)
  if #numbers > 0 then
    redis.call("HSET", keys.hub, unpack(numbers))
  end
  if scheme then
    redis.call("HSET", keys.hub, "format", hub.format(scheme.name, is_earlier))
    if scheme.text then
      redis.call("HSET", keys.scheme, "name", scheme.name, "text", scheme.text,
        "signature", scheme.signature)
    end
  end
end

-- Can an engine have room under the old hwm and not under the new? Like 1, 0 admits only
-- idle engines.
local function shrinks(before, after)
  return math.max(1, after) < math.max(1, before)
end

local function main(opened, numbers, scheme)
  local changed = scheme and scheme.name ~= scheme_name
  -- The first write is allowed at maxmemory, so that retention can be lowered there.
  redis.call("PERSIST", keys.hub)
  -- From here on workers of earlier releases are refused.
  local is_earlier = opened.is_earlier and not upgrade
  if opened.is_earlier and upgrade then
    redis.call("HSET", keys.hub, "format", hub.format(scheme_name))
    redis.call("HSETNX", keys.hub, "failure_ttl", FAILURE_TTL)
  end
  set(numbers, scheme, is_earlier)
  local hwm = tonumber(redis.call("HGET", keys.hub, "hwm"))
  if changed or hwm ~= opened.hwm then
    rerank.begin(shrinks(opened.hwm, hwm))
  end
  opened.hwm = hwm
  if not changed then
    rerank.some(opened, PIECE)
  end
  return { "ok", redis.call("HGET", keys.hub, "fingerprint"), rerank.left() }
end

local numbers, scheme = require("lib.settings").read(4)
if not numbers then
  return reply.fail("BADARG", scheme)
end
if create and redis.call("EXISTS", keys.hub) == 0 then
  make()
  set(numbers, scheme)
  return { "created", redis.call("HGET", keys.hub, "fingerprint"), 0 }
end
return hub.run(function(opened)
  return main(opened, numbers, scheme)
end)
