-- timers: what is due when, by the logical clock.
--
-- Members of R:timers are `kind:id`. Kinds: t a waiting budget is used up, w a delay or
-- backoff is over, g a gate was never opened, or is to be forgotten.

local hub = require("lib.hub")
local keys = require("lib.keys")

-- How late a timer may be after the clock was set back, in ms.
local SLACK = 1000

local function clock(opened)
  if not opened.now then
    hub.read_clock(opened)
  end
  return opened.now
end

-- Wake a supervisor, unless somebody plans to come as early as `due`.
local function alarm(due)
  local planned = tonumber(redis.call("HGET", keys.hub, "due"))
  if planned and planned <= due then
    return
  end
  redis.call("HSET", keys.hub, "due", due)
  if redis.call("EXISTS", keys.alarm) == 0 then
    redis.call("RPUSH", keys.alarm, 1)
  end
end

-- Time must not run back behind what a timer was set by: the clock may have jumped ahead,
-- and be set back, before anybody ticks.
local function hold(opened)
  if opened.now > math.max(opened.last, opened.far) + SLACK then
    opened.far = opened.now
    redis.call("HSET", keys.hub, "far", string.format("%.0f", opened.now))
  end
end

-- Set a timer that is due in `ms`.
local function set(opened, kind, id, ms)
  local due = clock(opened) + ms
  hold(opened)
  redis.call("ZADD", keys.timers, due, kind .. ":" .. id)
  alarm(due)
end

local function clear(kind, id)
  redis.call("ZREM", keys.timers, kind .. ":" .. id)
end

-- Stop a timer; returns how many ms it had left, or nil if there was none.
local function stop(opened, kind, id)
  local due = redis.call("ZSCORE", keys.timers, kind .. ":" .. id)
  if due then
    clear(kind, id)
    return math.max(1, tonumber(due) - clock(opened))
  end
end

return {
  alarm = alarm,
  clock = clock,
  set = set,
  clear = clear,
  stop = stop,
}
