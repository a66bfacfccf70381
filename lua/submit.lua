-- submit: a slice of tasks enters, all or none.
--
-- KEYS     root
-- ARGV     now (digest blob name n (flag value)*n m (id args)*m)*
-- RETURNS  {"ok", new, known}
-- MOVES    -
-- ERRORS   NOHUB SCHEMA SCHEME NOW BADARG TOOLARGE NOFN CONFLICT
-- COST     O(tasks * log ready), at most 500 tasks
--
-- A group has one function and one set of flags for all its tasks. The blob is
-- empty when the client believes that the hub knows the digest. Submitting the
-- same task again changes nothing; another payload under its id is an error.

local argument = require("lib.argument")
local functions = require("lib.functions")
local hub = require("lib.hub")
local keys = require("lib.keys")
local line = require("lib.line")
local record = require("lib.record")
local reply = require("lib.reply")

local MOST = 500
local BATCH = 1000

-- What is at most this long stays in the record: scripts read it from there.
local LONGEST = 64

-- The flags that become fields of the record: pattern and, for numbers, limits.
local FLAGS = {
  queue = { "^[a-z0-9][a-z0-9_-]*$" },
  label = { "^.+$", longest = 128 },
  root = { "^[a-z0-9]+%-[0-9]+$" },
  ["until"] = { "^[0-9]+$", 0, 9007199254740991 },
  ttl = { "^[0-9]+$", 0, 31536000000 },
  retries = { "^[0-9]+$", 0, 1000 },
  priority = { "^%-?[0-9]+$", -1000, 1000 },
}

-- Priority is kept in the score of the line alone.
local SCORED = { priority = true }

local function check_flag(name, value)
  local rule = FLAGS[name]
  if not rule then
    return "no such flag: " .. name
  end
  if #value > (rule.longest or LONGEST) or not string.find(value, rule[1]) then
    return "flag " .. name .. " cannot be " .. value
  end
  if rule[2] and (tonumber(value) < rule[2] or tonumber(value) > rule[3]) then
    return string.format("flag %s must be from %.0f to %.0f", name, rule[2], rule[3])
  end
end

local function parse_flags(group, at, count)
  for offset = at, at + 2 * count - 2, 2 do
    local name, value = ARGV[offset], ARGV[offset + 1]
    local wrong = check_flag(name, value)
    if wrong then
      return wrong
    end
    if not SCORED[name] then
      group.fields[#group.fields + 1] = name
      group.fields[#group.fields + 1] = value
    end
    group[name] = value
  end
end

local function parse_group(at)
  local group = {
    digest = ARGV[at], blob = ARGV[at + 1], name = ARGV[at + 2], fields = {}, ids = {}, args = {},
  }
  local flags = argument.count(ARGV[at + 3])
  if not flags or #ARGV < at + 4 + 2 * flags then
    return nil, "a group that is none at argument " .. at
  end
  local wrong = parse_flags(group, at + 4, flags)
  if wrong then
    return nil, wrong
  end
  at = at + 4 + 2 * flags
  local count = argument.count(ARGV[at])
  if not count or count < 1 or #ARGV < at + 2 * count then
    return nil, "a group without its tasks at argument " .. at
  end
  for offset = 1, count do
    group.ids[offset] = ARGV[at + 2 * offset - 1]
    group.args[offset] = ARGV[at + 2 * offset]
  end
  return group, at + 2 * count + 1
end

local function parse()
  local groups, total, at = {}, 0, 2
  while at <= #ARGV do
    local group, next_at = parse_group(at)
    if not group then
      return nil, next_at
    end
    groups[#groups + 1] = group
    total = total + #group.ids
    at = next_at
  end
  if total == 0 or total > MOST then
    return nil, "a slice has 1 to " .. MOST .. " tasks, not " .. total
  end
  return groups, total
end

-- Ids are made by clients: nothing else may ever become part of a key.
local function check_tasks(opened, group, seen)
  for offset, id in ipairs(group.ids) do
    if #id > LONGEST or not string.find(id, "^[a-z0-9]+%-[0-9]+$") or seen[id] then
      return reply.fail("BADARG", "not a task id, or one twice: " .. id)
    end
    seen[id] = true
    local size = #group.args[offset]
    if size == 0 or size > opened.max_payload then
      return reply.fail("TOOLARGE", string.format(
        "the arguments of %s have %.0f bytes; the limit is %.0f", id, size, opened.max_payload))
    end
  end
  if #group.blob > opened.max_payload then
    return reply.fail("TOOLARGE", string.format(
      "the function has %.0f bytes; the limit is %.0f", #group.blob, opened.max_payload))
  end
  if not string.find(group.digest, "^[A-Za-z0-9_-]+$") or #group.digest > LONGEST then
    return reply.fail("BADARG", "not a digest: " .. group.digest)
  end
end

-- How many of these ids are known, asked for all of them at once.
local function count_known(ids)
  local known = 0
  for from = 1, #ids, BATCH do
    local names = {}
    for offset = from, math.min(from + BATCH - 1, #ids) do
      names[#names + 1] = keys.task(ids[offset])
    end
    known = known + redis.call("EXISTS", unpack(names))
  end
  return known
end

-- Leave out the tasks that the hub has already: a submit sent twice.
local function drop_known(group)
  local ids, args, known = {}, {}, 0
  for offset, id in ipairs(group.ids) do
    local f = redis.call("HMGET", keys.task(id), "fn", "args")
    if not f[1] then
      ids[#ids + 1], args[#args + 1] = id, group.args[offset]
    elseif f[1] == group.digest and record.part(id, "args", f[2]) == group.args[offset] then
      known = known + 1
    else
      return nil, reply.fail("CONFLICT", id .. " is known with another function or arguments")
    end
  end
  group.ids, group.args = ids, args
  return known
end

local function enter(opened, group, sequence)
  local priority = tonumber(group.priority) or 0
  local entries = {}
  for offset, id in ipairs(group.ids) do
    local fields = { "args", group.args[offset] }
    for at, value in ipairs(group.fields) do
      fields[at + 2] = value
    end
    record.write(id, fields, "state", "ready", "fn", group.digest, "submitted", opened.stamp)
    entries[2 * offset - 1] = line.score(priority, sequence + offset)
    entries[2 * offset] = id
  end
  line.enter(opened, group.queue or "default", entries)
end

local opened, refused = hub.open()
if not opened then
  return refused
end
local groups, total = parse()
if not groups then
  return reply.fail("BADARG", total)
end
local known, seen = 0, {}
for _, group in ipairs(groups) do
  refused = check_tasks(opened, group, seen)
  if refused then
    return refused
  end
  if count_known(group.ids) > 0 then
    local dropped
    dropped, refused = drop_known(group)
    if refused then
      return refused
    end
    known = known + dropped
  end
  if group.blob == "" and not functions.known(group.digest) then
    return reply.fail("NOFN", group.digest)
  end
end

-- Writes below. The first is one that a full Redis refuses, so that submit says
-- so before anything is there.
local sequence = redis.call("HINCRBY", keys.hub, "submitted", total - known) - (total - known)
for _, group in ipairs(groups) do
  if #group.ids > 0 then
    functions.need(group.digest, group.blob, group.name, #group.ids)
    redis.call("HSETNX", keys.queues, group.queue or "default", 0)
    enter(opened, group, sequence)
    sequence = sequence + #group.ids
  end
end
return { "ok", total - known, known }
