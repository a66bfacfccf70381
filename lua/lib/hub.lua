-- hub: open the hub for one script call: settings, and the time.
--
-- Two clocks. `stamp` is the server's wall clock in ms: records show it to people. `now`
-- is logical time: monotonic, slewed towards the wall clock, and used for leases.
--
-- ERRORS   NOHUB SCHEMA SCHEME NOW

local keys = require("lib.keys")
local scheme_name = require("scheme_name")

local SCHEMA = "4"
-- Of earlier releases, which have no sheet (lib/sheet.lua). Such a hub stays as it is, so
-- that their workers can go on, until it is told that there are none left.
local EARLIER = "3"

-- What every script checks, in one field: schema and scheme.
local function format(scheme, is_earlier)
  return (is_earlier and EARLIER or SCHEMA) .. " " .. scheme
end

local FORMAT = format(scheme_name)

local DAY = 86400000

-- Logical time ahead of the wall clock falls back by at most this share of the time that
-- passes, so that no lease ever sees a jump.
local SLEW = 0.1

-- The time in whole ms, and the fraction left. It is read once per script: before Redis
-- 7.2 TIME moves while one runs.
local function wall(argument)
  if argument ~= "" then
    return tonumber(argument), 0
  end
  local time = redis.call("TIME")
  local whole = math.floor(time[2] / 1000)
  return time[1] * 1000 + whole, time[2] / 1000 - whole
end

-- Returns the open hub, or nil and the error reply. Writes nothing.
local function open()
  local f = redis.call("HMGET", keys.hub, "format", "hwm", "result_ttl", "rare")
  local is_earlier = f[1] ~= FORMAT
  if is_earlier and f[1] ~= format(scheme_name, true) then
    return nil, require("lib.refusal").format(f[1], SCHEMA, EARLIER)
  end
  local refused = ARGV[1] ~= "" and require("lib.refusal").time()
  if refused then
    return nil, refused
  end
  local stamp, fine = wall(ARGV[1])
  return {
    stamp = stamp,
    fine = fine,
    -- Somebody may have written something else there.
    hwm = tonumber(f[2]) or 0,
    result_ttl = tonumber(f[3]) or DAY,
    rare = f[4],
    is_earlier = is_earlier,
  }
end

-- Open the hub and return what `main(opened)` does, or why it cannot be opened.
local function run(main)
  local opened, refused = open()
  return refused or main(opened)
end

-- Also read the logical clock: `now`, and what leases need.
local function read_clock(opened)
  local f = redis.call("HMGET", keys.hub, "last", "skew", "grace", "lease", "far")
  opened.last, opened.skew = tonumber(f[1]), tonumber(f[2])
  opened.grace, opened.lease = tonumber(f[3]), tonumber(f[4])
  opened.far = tonumber(f[5] or 0)
  opened.now = math.max(opened.last, opened.far, opened.stamp + opened.skew)
end

-- Advance logical time (beat and sweep only): somebody is alive. If nobody was heard for
-- half a lease - Redis was away, a clock jumped, a machine slept - nobody may be declared
-- dead for one lease.
local function tick(opened)
  read_clock(opened)
  local passed = opened.now - opened.last
  local skew = opened.now - opened.stamp
  if skew > 0 then
    skew = math.max(0, skew - math.floor(passed * SLEW))
    opened.now = math.max(opened.last, opened.far, opened.stamp + skew)
  end
  skew = math.max(0, opened.now - opened.stamp)
  if opened.last > 0 and passed > opened.lease / 2 then
    opened.grace = opened.now + opened.lease
  end
  opened.last, opened.skew = opened.now, skew
  redis.call("HSET", keys.hub,
    "last", opened.last, "skew", opened.skew, "grace", opened.grace)
end

return {
  format = format,
  run = run,
  read_clock = read_clock,
  tick = tick,
}
