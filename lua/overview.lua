-- overview: the health of a hub, at a cost that does not grow with it.
--
-- KEYS     root
-- ARGV     now buckets width brief
-- RETURNS  {"ok", hub, states, queues, rates, oldest, times, failures}
-- MOVES    -
-- ERRORS   NOHUB SCHEMA SCHEME NOW BADARG
-- COST     O(queues + log tasks); looks at 200 queues, 250 engines, 90 tasks at most
--
-- Seven flat lists. hub: the hub's fields and values; `now`, `stamp`, `registered`; the
-- server's `used_memory` and `maxmemory`, if it tells; `span`. states: state, count; with
-- more than 200 queues or 250 engines what is not counted is derived from how many were
-- submitted and have ended. queues, the 50 with the most ready tasks: name, engines,
-- ready, when the oldest was submitted (0: none), and 1 if paused. rates: completed,
-- failed and aborted in the last `span` ms, then in each of 0 to 60 `buckets` of `width`
-- ms, latest first. oldest: state, id and submission time, for waiting and ready. times:
-- for up to 40 tasks, sampled evenly from those completed in the last `span`: run time
-- (us), and delay from submission to start (ms). failures, of the latest 50: function,
-- error, count, latest id. With `brief` "1" there are a quarter as many times, and no
-- memory, states, queues, oldest and failures.

local argument = require("lib.argument")
local held = require("lib.held")
local hub = require("lib.hub")
local keys = require("lib.keys")
local latest = require("lib.latest")
local page = require("lib.page")
local record = require("lib.record")
local reply = require("lib.reply")
local states = require("lib.states")

local SPAN = 60000
local MOST_BUCKETS = 60
local MOST_ENGINES = 250
local SHOWN_QUEUES = 50
-- In a line, adjacent priorities are 2^42 apart.
local PRIORITY = 4398046511104
local BANDS = 4
-- Samples of completed tasks: how many places, and how many neighbours at each.
local PLACES, NEIGHBOURS = 20, 2
local FAILURES = 50

local buckets, width = argument.count(ARGV[2]), argument.count(ARGV[3])
local brief = ARGV[4] == "1"

-- The oldest task of an index ordered by priority: id and when it was submitted. It is
-- the first of its priority; 4 of these are looked at.
local function oldest(key)
  local found, stamp
  local from = "-inf"
  for _ = 1, BANDS do
    local head = redis.call("ZRANGEBYSCORE", key, from, "+inf", "WITHSCORES", "LIMIT", 0, 1)
    if not head[1] then
      break
    end
    local submitted = tonumber(record.get(head[1], "submitted")[1])
    if submitted and (not stamp or submitted < stamp) then
      found, stamp = head[1], submitted
    end
    from = string.format("%d", (math.floor(head[2] / PRIORITY) + 1) * PRIORITY)
  end
  return found, stamp
end

local function add_oldest(lines, state, id, stamp)
  if id then
    lines[#lines + 1], lines[#lines + 2], lines[#lines + 3] = state, id, stamp
  end
end

-- The queues looked at, longest first; how many tasks are in them; and are there more?
local function queues_by_length()
  local found, ready = {}, 0
  local known = redis.call("HGETALL", keys.queues)
  for at = 1, math.min(#known, 2 * page.MOST), 2 do
    local name = known[at]
    local plain = redis.call("ZCARD", keys.ready(name))
    local apart = tonumber(redis.call("HGET", keys.apart, name) or 0)
    ready = ready + plain + apart
    found[#found + 1] = {
      name = name, engines = tonumber(known[at + 1]), plain = plain, ready = plain + apart,
    }
  end
  table.sort(found, function(one, other)
    return one.ready > other.ready or (one.ready == other.ready and one.name < other.name)
  end)
  return found, ready, #known > 2 * page.MOST
end

-- Lines for the reply, and the oldest task of all. A queue with tasks only in class lines
-- is not asked for its oldest.
local function queue_lines(found)
  local lines, oldest_id, oldest_stamp = {}, nil, nil
  for at = 1, math.min(#found, SHOWN_QUEUES) do
    local one = found[at]
    local id, stamp
    if one.plain > 0 then
      id, stamp = oldest(keys.ready(one.name))
    end
    if stamp and (not oldest_stamp or stamp < oldest_stamp) then
      oldest_id, oldest_stamp = id, stamp
    end
    local paused = redis.call("SISMEMBER", keys.paused, one.name)
    for _, value in ipairs({ one.name, one.engines, one.ready, stamp or 0, paused }) do
      lines[#lines + 1] = value
    end
  end
  return lines, oldest_id, oldest_stamp
end

-- Tasks placed on engines or taken by them (`count`), among the engines examined.
local function on_engines(count)
  local sum = 0
  for _, uuid in ipairs(redis.call("ZRANGE", keys.engines, 0, MOST_ENGINES - 1)) do
    sum = sum + count(uuid)
  end
  return sum
end

local function placed_on(uuid)
  return redis.call("ZCARD", keys.engine(uuid, "assigned"))
end

-- Tasks in play were submitted and have not ended. So one of waiting, ready, assigned and
-- running need not be counted: it is the remainder.
local function counts(about, waiting, ready, many)
  local open = about.submitted
  for _, state in ipairs(states.ended()) do
    open = open - about[state]
  end
  local assigned = on_engines(placed_on)
  local running = many and on_engines(held.count)
    or math.max(0, open - waiting - ready - assigned)
  if many then
    ready = math.max(0, open - waiting - assigned - running)
  end
  local counted = {
    "waiting", waiting, "ready", ready, "assigned", assigned, "running", running,
  }
  for _, state in ipairs(states.ended()) do
    counted[#counted + 1] = state
    counted[#counted + 1] = redis.call("ZCARD", keys.ended(state))
  end
  return counted
end

-- The server's memory figures; nothing where scripts may not ask.
local function add_memory(lines)
  local about = redis.pcall("INFO", "memory")
  if type(about) ~= "string" then
    return
  end
  for _, name in ipairs({ "used_memory", "maxmemory" }) do
    local value = string.match(about, "\n" .. name .. ":(%d+)")
    if value then
      lines[#lines + 1], lines[#lines + 2] = name, value
    end
  end
end

local function hub_lines(opened, span)
  local lines = redis.call("HGETALL", keys.hub)
  local about = { submitted = 0, completed = 0, failed = 0, aborted = 0 }
  for at = 1, #lines, 2 do
    if about[lines[at]] then
      about[lines[at]] = tonumber(lines[at + 1])
    end
  end
  local more = {
    "now", string.format("%.0f", opened.now), "stamp", string.format("%.0f", opened.stamp),
    "registered", tostring(redis.call("ZCARD", keys.engines)),
    "span", string.format("%.0f", span),
  }
  for _, value in ipairs(more) do
    lines[#lines + 1] = value
  end
  if not brief then
    add_memory(lines)
  end
  return lines, about
end

local function add_rates(rates, bases, from, to)
  for _, state in ipairs(states.ended()) do
    local plain, own = latest.between(state, bases[state], from, to)
    rates[#rates + 1] = plain + own
  end
end

local function rate_lines(opened, span)
  local rates, bases = {}, {}
  for _, state in ipairs(states.ended()) do
    bases[state] = latest.base(opened, state)
  end
  add_rates(rates, bases, opened.stamp - span, opened.stamp)
  for number = 1, buckets do
    local to = opened.stamp - (number - 1) * width
    add_rates(rates, bases, to - width, to)
  end
  return rates
end

-- Add ids of an index, spread over the `count` from rank `first` on: at most `places`
-- times `NEIGHBOURS`.
local function add_samples(found, key, first, count, places)
  if count <= places * NEIGHBOURS then
    places = count > 0 and 1 or 0
  end
  local many = places == 1 and count or NEIGHBOURS
  for place = 0, places - 1 do
    local rank = first + math.floor(place * (count - many) / math.max(1, places - 1))
    for _, id in ipairs(redis.call("ZRANGE", key, rank, rank + many - 1)) do
      found[#found + 1] = id
    end
  end
end

-- Ids of tasks completed in the last `span`, spread over those with the common retention
-- and with their own.
local function samples(opened, span)
  local found, base = {}, latest.base(opened, "completed")
  local from, places = opened.stamp - span, brief and PLACES / 4 or PLACES
  local plain, own = latest.between("completed", base, from, opened.stamp)
  for _, one in ipairs({
    { key = keys.ended("completed"), base = base, count = plain },
    { key = keys.latest("completed"), base = 0, count = own },
  }) do
    local first = redis.call("ZCOUNT", one.key, "-inf", string.format("%.0f", one.base + from))
    add_samples(found, one.key, first, one.count,
      math.floor(places * one.count / math.max(1, plain + own)))
  end
  return found
end

local function time_lines(opened, span)
  local lines = {}
  local sampled = samples(opened, span)
  record.read_ahead(sampled)
  for _, id in ipairs(sampled) do
    local f = record.get(id, "submitted", "took", "started")
    -- It began `ago` us before its end was reported.
    local ago, took = string.match(f[2] or "", "^(%d+) (%d+)$")
    if ago and f[1] and f[3] then
      lines[#lines + 1] = tonumber(took)
      lines[#lines + 1] = math.max(0, math.floor(f[3] - ago / 1000 - f[1]))
    end
  end
  return lines
end

local function failure_lines(opened)
  local groups, names = {}, {}
  for _, one in ipairs(latest.next(latest.open(opened, "failed"), FAILURES)) do
    local id = one.id
    local f = record.get(id, "fn", "ename", "verdict")
    local name, what = page.function_of(names, f[1]), f[2] or f[3] or ""
    local group = groups[name .. "\0" .. what]
    if not group then
      group = { name = name, what = what, count = 0, latest = id }
      groups[name .. "\0" .. what] = group
      groups[#groups + 1] = group
    end
    group.count = group.count + 1
  end
  local lines = {}
  for _, group in ipairs(groups) do
    for _, value in ipairs({ group.name, group.what, group.count, group.latest }) do
      lines[#lines + 1] = value
    end
  end
  return lines
end

local function main(opened)
  if not buckets or not width or buckets > MOST_BUCKETS or width < 1 then
    return reply.fail("BADARG", "an overview has 0 to 60 buckets of 1 ms or more")
  end
  hub.read_clock(opened)
  local ttl = opened.result_ttl
  local span = ttl > 0 and math.min(SPAN, ttl) or SPAN
  local lines, about = hub_lines(opened, span)
  local rates, times = rate_lines(opened, span), time_lines(opened, span)
  if brief then
    return { "ok", lines, {}, {}, rates, {}, times, {} }
  end
  local found, ready, many = queues_by_length()
  local queues, ready_id, ready_stamp = queue_lines(found)
  local waiting = redis.call("ZCARD", keys.waiting)
  local elders = {}
  add_oldest(elders, "waiting", oldest(keys.waiting))
  add_oldest(elders, "ready", ready_id, ready_stamp)
  return {
    "ok", lines, counts(about, waiting, ready, many), queues, rates, elders,
    times, failure_lines(opened),
  }
end

return hub.run(main)
