-- hub: open the hub for one script call: settings, and what time it is.
--
-- Two clocks. `stamp` is the server's wall clock in ms: records show it to
-- people. `now` is logical time: it never runs back, is slewed towards the
-- wall clock, and leases are measured in it.
--
-- ERRORS   NOHUB SCHEMA SCHEME NOW

local keys = require("lib.keys")
local reply = require("lib.reply")
local scheme_name = require("scheme_name")

local hub = {}

hub.SCHEMA = 1

-- Logical time that got ahead of the wall clock falls back by at most this
-- share of the time that passes, so that no lease ever sees a jump.
local SLEW = 0.1

local function wall(argument)
  if argument ~= "" then
    return tonumber(argument)
  end
  -- Read once per script: on Redis before 7.2 TIME moves while a script runs.
  local time = redis.call("TIME")
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function logical(stamp, last, skew)
  if stamp + skew < last then
    return last
  end
  return stamp + skew
end

-- Returns the open hub, or nil and the error reply. Writes nothing.
function hub.open()
  local f = redis.call(
    "HMGET", keys.hub,
    "schema", "scheme", "testing", "last", "skew", "grace",
    "lease", "hwm", "result_ttl", "max_deaths", "max_payload"
  )
  if not f[1] then
    return nil, reply.fail("NOHUB", "there is no hub under " .. KEYS[1])
  end
  if tonumber(f[1]) ~= hub.SCHEMA then
    return nil, reply.fail("SCHEMA", "the hub has schema " .. f[1]
      .. ", this redtask understands " .. hub.SCHEMA)
  end
  if f[2] ~= scheme_name then
    return nil, reply.fail("SCHEME", f[2])
  end
  if ARGV[1] ~= "" and not (f[3] == "1" and tonumber(ARGV[1])) then
    return nil, reply.fail("NOW", "only a hub made for testing is told the time")
  end
  local opened = {
    stamp = wall(ARGV[1]),
    last = tonumber(f[4]),
    skew = tonumber(f[5]),
    grace = tonumber(f[6]),
    lease = tonumber(f[7]),
    hwm = tonumber(f[8]),
    result_ttl = tonumber(f[9]),
    max_deaths = tonumber(f[10]),
    max_payload = tonumber(f[11]),
  }
  opened.now = logical(opened.stamp, opened.last, opened.skew)
  return opened
end

-- Somebody lives: move logical time on (beat and sweep only). When nobody was
-- heard for half a lease - Redis was away, a clock jumped, a machine slept -
-- nobody may be declared dead for one lease.
function hub.tick(opened)
  local passed = opened.now - opened.last
  local skew = opened.now - opened.stamp
  if skew > 0 then
    skew = math.max(0, skew - math.floor(passed * SLEW))
    opened.now = math.max(opened.last, opened.stamp + skew)
  end
  skew = math.max(0, opened.now - opened.stamp)
  if opened.last > 0 and passed > opened.lease / 2 then
    opened.grace = opened.now + opened.lease
  end
  opened.last, opened.skew = opened.now, skew
  redis.call("HSET", keys.hub,
    "last", opened.last, "skew", opened.skew, "grace", opened.grace)
end

return hub
