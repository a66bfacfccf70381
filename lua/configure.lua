-- configure: make a hub, or change its settings.
--
-- KEYS     root
-- ARGV     now create fingerprint (name value)*
-- RETURNS  {"created" | "ok", fingerprint}
-- MOVES    -
-- ERRORS   NOHUB SCHEMA SCHEME NOW BADARG
-- COST     O(settings), of hwm O(engines)
--
-- `create` is "1" to make the hub when there is none; `fingerprint` is of the
-- key that signs its work, and is kept from the first call on. The reply has the
-- hub's own fingerprint, for the caller to compare.

local engines = require("lib.engines")
local hub = require("lib.hub")
local keys = require("lib.keys")
local reply = require("lib.reply")

-- Least and greatest value of each number. Times in ms, sizes in bytes.
local LIMITS = {
  hwm = { 0, 100000 },
  lease = { 100, 3600000 },
  result_ttl = { 0, 31536000000 },
  max_deaths = { 1, 1000 },
  max_payload = { 65536, 536870912 },
  testing = { 0, 1 },
}
local DEFAULTS = {
  "format", hub.FORMAT, "hwm", 0, "result_ttl", 86400000, "max_deaths", 3,
  "last", 0, "skew", 0, "grace", 0, "lease", 15000, "max_payload", 67108864,
}

local create, fingerprint = ARGV[2] == "1", ARGV[3]

local function wrong(name, text)
  local limits, value = LIMITS[name], tonumber(text)
  if not limits then
    return "no such setting: " .. name
  end
  if not value or value ~= math.floor(value) or value < limits[1] or value > limits[2] then
    return string.format("%s must be a whole number from %.0f to %.0f",
      name, limits[1], limits[2])
  end
end

-- The settings, flat; or nil and the error reply.
local function parse()
  local settings = {}
  for at = 4, #ARGV, 2 do
    local sentence = wrong(ARGV[at], ARGV[at + 1])
    if sentence then
      return nil, reply.fail("BADARG", sentence)
    end
    settings[#settings + 1] = ARGV[at]
    settings[#settings + 1] = string.format("%.0f", tonumber(ARGV[at + 1]))
  end
  return settings
end

local function set(settings, word)
  if #settings > 0 then
    redis.call("HSET", keys.hub, unpack(settings))
  end
  return { word, redis.call("HGET", keys.hub, "fingerprint") }
end

-- Under another hwm other engines have room. One that has not come yet has none.
local function show_engines(opened)
  for _, uuid in ipairs(redis.call("ZRANGE", keys.engines, 0, -1)) do
    local engine = engines.find(uuid)
    if engine and engine.number > 0 then
      engines.show(opened, engine)
    end
  end
end

local settings, refused = parse()
if not settings then
  return refused
end
if create and redis.call("EXISTS", keys.hub) == 0 then
  -- The most read fields first: a listpack is searched from its beginning.
  redis.call("HSET", keys.hub, unpack(DEFAULTS))
  redis.call("HSET", keys.hub, "fingerprint", fingerprint)
  return set(settings, "created")
end
return hub.run(function(opened)
  local answer = set(settings, "ok")
  local hwm = tonumber(redis.call("HGET", keys.hub, "hwm"))
  if hwm ~= opened.hwm then
    opened.hwm = hwm
    show_engines(opened)
  end
  return answer
end)
