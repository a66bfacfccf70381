-- why: what a task waits for, who refused it and who could take it now.
--
-- KEYS     root
-- ARGV     now id
-- RETURNS  {"ok", facts, members, refusals}
-- MOVES    -
-- ERRORS   NOHUB SCHEMA SCHEME NOW NOTASK
-- COST     O(engines + members), of at most 1,000 engines and 500 members
--
-- Three flat lists. facts: fields of the record by name; `stamp`, the time; `open_after`
-- and `open_follow`, how many members have not ended; `left`, ms left of its waiting
-- budget; `paused` if its queue is; of a ready task `line`, its class, and `before`, how
-- many are ahead of it; `living`, the engines that serve its queue, `admitted`, those
-- that may take it, `free`, those with room, and `drained`, those that get nothing new;
-- `refused`, engines that lack what its function requires. members: set, id and state of
-- at most 10 that have not ended. refusals: engine and words of at most 10.

local argument = require("lib.argument")
local class = require("lib.class")
local depend = require("lib.depend")
local functions = require("lib.functions")
local hold = require("lib.hold")
local hub = require("lib.hub")
local keys = require("lib.keys")
local queues = require("lib.queues")
local record = require("lib.record")
local reply = require("lib.reply")
local states = require("lib.states")
local timers = require("lib.timers")

-- How many are looked at, and how many are shown.
local MOST_ENGINES = 1000
local MOST_MEMBERS = 500
local MOST_SHOWN = 10
-- As much of a list of engines as a person can read.
local LONGEST = 200

-- Fields reported as they are.
local TOLD = {
  "state", "queue", "submitted", "gate", "start", "timeout", "place", "not", "engine",
  "started", "verdict", "reason", "ename", "evalue", "tries", "retries", "resubmitted",
}

local id = ARGV[2]

local function add(facts, name, value)
  if value then
    facts[#facts + 1], facts[#facts + 2] = name, tostring(value)
  end
end

-- Members of a set that have not ended, within a bounded number of lookups.
local function open_members(opened, members, name)
  local text = record.part(id, name, redis.call("HGET", keys.task(id), name)) or ""
  local shown, looked = 0, 0
  for member in string.gmatch(string.match(text, " (.*)$") or "", "%S+") do
    looked = looked + 1
    if looked > MOST_MEMBERS then
      return
    end
    local known = depend.member_of(opened, member)
    if known and not states.is_ended(known.state) then
      local last = #members
      members[last + 1], members[last + 2] = name, known.id
      members[last + 3] = known.state
      shown = shown + 1
      if shown == MOST_SHOWN then
        return
      end
    end
  end
end

local function number(truth)
  return truth and 1 or 0
end

-- Of the engines that serve its queue: how many live, may take it, and have room.
local function count_engines(opened, facts, task)
  local queue, name = task.queue or "default", hold.class_of(opened, task)
  local living, admitted, free, drained = 0, 0, 0, 0
  for _, uuid in ipairs(redis.call("ZRANGE", keys.engines, 0, MOST_ENGINES - 1)) do
    local f = redis.call("HMGET", keys.engine(uuid), "id", "queues", "leaving")
    if f[1] and f[3] ~= "1" and queues.has(f[2], queue) then
      living = living + 1
      if class.admits(name, tonumber(f[1])) then
        admitted = admitted + 1
        drained = drained + number(f[3])
        free = free + number(redis.call("ZSCORE", keys.free(queue), uuid))
      end
    end
  end
  add(facts, "living", living)
  add(facts, "admitted", admitted)
  add(facts, "free", free)
  add(facts, "drained", drained)
  add(facts, "paused", redis.call("SISMEMBER", keys.paused, queue) == 1 and 1)
end

local function tell_line(facts, task)
  local queue, name = task.queue or "default", task.class or ""
  add(facts, "line", name)
  add(facts, "before", redis.call("ZRANK", keys.ready(queue, name), id))
end

-- What is left of its waiting budget, which stands still while an engine has the task.
local function tell_budget(opened, facts, task)
  local due = task.timeout and redis.call("ZSCORE", keys.timers, "t:" .. id)
  if due then
    add(facts, "left", string.format("%.0f", math.max(0, due - timers.clock(opened))))
  end
end

local function tell_fields(opened, facts)
  local f = record.get(id, unpack(TOLD))
  for at, name in ipairs(TOLD) do
    add(facts, name, f[at] or nil)
  end
  add(facts, "stamp", string.format("%.0f", opened.stamp))
end

local function tell_open(opened, facts, members, task)
  for name, counter in pairs({ after = "na", follow = "nf" }) do
    -- Once a set is met, nobody waits for members that have not ended.
    if task[counter] then
      add(facts, "open_" .. name, string.match(task[counter], ":(%d+)"))
      open_members(opened, members, name)
    end
  end
end

local function refusals_of()
  local told = {}
  for _, text in ipairs(redis.call("LRANGE", keys.task(id, "refusals"), 0, -1)) do
    local label, words = string.match(text, "^(%d+)\t(.*)$")
    told[#told + 1], told[#told + 2] = label, words
  end
  return told
end

local function main(opened)
  local task = argument.is_id(id or "") and depend.read(id)
  if not task then
    return reply.fail("NOTASK", "No such task: " .. (id or ""))
  end
  local facts, members = {}, {}
  tell_fields(opened, facts)
  if states.is_ended(task.state) then
    return { "ok", facts, members, refusals_of() }
  end
  tell_budget(opened, facts, task)
  add(facts, "targets", task.targets and string.sub(task.targets, 1, LONGEST))
  if task.state == "waiting" then
    tell_open(opened, facts, members, task)
  elseif task.state == "ready" then
    tell_line(facts, task)
  end
  if task.fn then
    local refused = functions.refused(opened, task.fn)
    add(facts, "refused", refused and string.sub(refused, 1, LONGEST))
    count_engines(opened, facts, task)
  end
  return { "ok", facts, members, refusals_of() }
end

return hub.run(main)
