-- other: functions, lines, the hub itself, and counters.

local class = require("lib.class")
local keys = require("lib.keys")
local rare = require("lib.rare")

-- A timer this late, in ms, means that nobody sweeps.
local LATE = 5000
-- Most late timers looked at.
local MOST_LATE = 100

local function beside(_, name, note)
  require("lib.examine.task").beside(name, note)
end

local function owned(_, name, note)
  require("lib.examine.engine").owned(name, note)
end

local function fn(opened, digest, note)
  local f = redis.call("HMGET", keys.fn(digest), "blob", "count")
  if not f[1] and not f[2] then
    return
  elseif not f[1] then
    note("blob", "its pickle is lost")
  end
  local idle = redis.call("ZSCORE", keys.idle_functions, digest) ~= false
  if idle ~= (tonumber(f[2] or 0) <= 0) then
    note("idle", "it is named " .. (f[2] or 0) .. " times and "
      .. (idle and "to leave" or "never leaves"), function()
      if idle then
        redis.call("ZREM", keys.idle_functions, digest)
      else
        redis.call("ZADD", keys.idle_functions, opened.stamp, digest)
      end
    end)
  end
end

local function knows(key, member, head)
  local bound = redis.call("ZSCORE", key, member)
  return bound and tonumber(bound) <= head
end

-- Does each living engine that may take from the line know it?
local function is_known(opened, queue, name, head)
  if name == class.PICKY then
    return rare.is(opened, "c")
  elseif not class.is_few(name) then
    return rare.is(opened, "c") and knows(keys.classes(queue), name, head)
  end
  for _, label in ipairs(class.living(queue, name, 64)) do
    local uuid = redis.call("ZRANGEBYSCORE", keys.labels, label, label)[1]
    if not knows(keys.engine(uuid, "classes"), queue .. ":" .. name, head)
      or redis.call("HEXISTS", keys.engine(uuid), "tied") == 0 then
      return false
    end
  end
  return true
end

-- "queue" or "queue class".
local function line(opened, name, note, tally)
  local queue, of_class = string.match(name, "^(%S+) ?(%S*)$")
  if not queue then
    return
  end
  local key = keys.ready(queue, of_class)
  local head = redis.call("ZRANGE", key, 0, 0, "WITHSCORES")[2]
  if not head then
    return
  elseif redis.call("HEXISTS", keys.queues, queue) == 0 then
    note("queue", "the queue " .. queue .. " has tasks and is not known", function()
      redis.call("HSETNX", keys.queues, queue, 0)
    end)
  end
  if of_class == "" then
    return
  end
  tally("apart " .. queue, redis.call("ZCARD", key))
  if not is_known(opened, queue, of_class, tonumber(head)) then
    note("unknown", "no engine looks at the line " .. of_class .. " of " .. queue, function()
      class.tell(opened, queue, of_class, head)
    end)
  end
end

-- A key that must expire some day.
local function expiring(_, name, note)
  local key = keys.named(name)
  if redis.call("TTL", key) == -1 then
    note("forever", "it is kept for ever", function()
      redis.call("EXPIRE", key, string.find(name, "^worker:") and 86400 or 3600)
    end)
  end
end

-- Is a timer late? A gate that has ended may be forgotten late without harm.
local function is_late(opened)
  local late = redis.call("ZRANGEBYSCORE", keys.timers, "-inf",
    string.format("(%.0f", opened.now - LATE), "LIMIT", 0, MOST_LATE)
  for _, member in ipairs(late) do
    local gate = string.match(member, "^g:(.+)$")
    if not gate or redis.call("HGET", keys.task(gate), "state") == "waiting" then
      return true
    end
  end
  return false
end

local function hub(opened, _, note)
  for _, key in ipairs({ keys.hub, keys.rows, keys.runs }) do
    if redis.call("TTL", key) >= 0 then
      local what = key == keys.hub and "the hub itself" or "what large maps keep"
      note("vanishes", what .. " is to expire", function()
        redis.call("PERSIST", key)
      end)
    end
  end
  if redis.call("EXISTS", keys.unsettled) == 1 and not rare.is(opened, "u") then
    note("untold", "nobody looks who is still to be told", function()
      rare.set(opened, "u")
    end)
  end
  local timer = redis.call("ZRANGE", keys.timers, 0, 0, "WITHSCORES")[2]
  local due = tonumber(redis.call("HGET", keys.hub, "due"))
  if not timer then
    return
  elseif not due or due > tonumber(timer) then
    note("due", "nobody comes for the next timer", function()
      require("lib.timers").alarm(tonumber(timer))
    end)
  elseif is_late(opened) then
    note("overdue", "timers are late: no worker sweeps")
  end
end

local function set_or_drop(key, field, right)
  if right == "0" then
    redis.call("HDEL", key, field)
  else
    redis.call("HSET", key, field, right)
  end
end

-- The key and field of a counter.
local function place_of(what, name)
  if what == "engines" then
    return keys.queues, name
  elseif what == "worker" then
    return keys.worker(name), "engines"
  elseif what == "function" then
    return keys.fn(name), "count"
  elseif what == "kept" then
    return keys.task(name), "kept"
  elseif what == "apart" then
    return keys.apart, name
  elseif what == "bytes" then
    return keys.hub, "kept_bytes"
  end
end

-- Mark a record that others need, or no longer.
local function mark_kept(name, key, is_kept)
  local f = redis.call("HMGET", key, "marks", "state", "engine")
  local rest = string.gsub(f[1] or "", is_kept and "k" or "[kp]", "")
  redis.call("HSET", key, "marks", rest .. (is_kept and "k" or ""))
  if f[2] == "running" then
    require("lib.held").mark(f[3], name)
  end
end

local function put(opened, what, name, key, field, right)
  if what == "function" then
    redis.call("HSET", key, field, right)
    if right == "0" then
      redis.call("ZADD", keys.idle_functions, opened.stamp, name)
    else
      redis.call("ZREM", keys.idle_functions, name)
    end
  elseif what == "engines" or what == "worker" or what == "bytes" then
    redis.call("HSET", key, field, right)
  else
    set_or_drop(key, field, right)
  end
  if what == "kept" then
    mark_kept(name, key, right ~= "0")
  end
end

-- "what name right seen": the number the caller counted, and the one it saw stored before
-- ("-": none). If that has changed since, it is not touched.
local function tally_of(opened, name, note)
  local what, whose, right, seen = string.match(name, "^(%S+) (%S+) (%d+) (%S+)$")
  local key, field = place_of(what, whose)
  if not key or redis.call("EXISTS", key) == 0 and right == "0" then
    return
  elseif (what == "worker" or what == "function" or what == "kept")
    and redis.call("EXISTS", key) == 0 then
    -- Their absence is reported elsewhere.
    return
  end
  local is = redis.call("HGET", key, field) or "0"
  if tonumber(is) ~= tonumber(right) and (seen == "-" or seen == is) then
    note("count", "it counts " .. is .. ", and there are " .. right, function()
      put(opened, what, whose, key, field, right)
    end)
  end
end

local BY_KIND = {
  beside = beside, owned = owned, ["function"] = fn, line = line, expiring = expiring,
  hub = hub, tally = tally_of,
}

local function look(opened, kind, name, note, tally)
  BY_KIND[kind](opened, name, note, tally)
end

return {
  look = look,
}
