-- submit: a slice of tasks enters, all or none.
--
-- KEYS     root
-- ARGV     now (digest blob name n (flag value)*n m (id args)*m)*
-- RETURNS  {"ok", new, known}
-- MOVES    -
-- ERRORS   NOHUB SCHEMA SCHEME NOW BADARG TOOLARGE NOFN CONFLICT PURE
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
local scheme_name = require("scheme_name")

local MOST = 500
-- No hub has a lower limit: smaller payloads need not be compared with it.
local SMALL = 65536

local function parse_flags(group, at, count)
  for offset = at, at + 2 * count - 2, 2 do
    local name, value = ARGV[offset], ARGV[offset + 1]
    local wrong = require("lib.flags").wrong(name, value)
    if wrong then
      return wrong
    end
    if name == "ttl" then
      -- Said in one field, so that an end need not ask for it.
      group.fields[#group.fields + 1] = "ends"
      group.fields[#group.fields + 1] = "t"
    end
    -- These two are no fields: one is in the score of the line, the other in `fn`.
    if name ~= "priority" and name ~= "until" then
      group.fields[#group.fields + 1] = name
      group.fields[#group.fields + 1] = value
    end
    group[name] = value
  end
end

-- The tasks stay in ARGV: id and arguments of the first are at `from`.
local function parse_group(at)
  local group = { digest = ARGV[at], blob = ARGV[at + 1], name = ARGV[at + 2], fields = {} }
  local flags = argument.count(ARGV[at + 3])
  if not flags or #ARGV < at + 4 + 2 * flags then
    return nil, "a group that is none at argument " .. at
  end
  local wrong = parse_flags(group, at + 4, flags)
  if wrong then
    return nil, wrong
  end
  -- Digest, and until when it may run: what the signature binds besides the id.
  group.fn = group["until"] and group.digest .. " " .. group["until"] or group.digest
  at = at + 4 + 2 * flags
  local count = argument.count(ARGV[at])
  if not count or count < 1 or #ARGV < at + 2 * count then
    return nil, "a group without its tasks at argument " .. at
  end
  group.from, group.count = at + 1, count
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
    total = total + group.count
    at = next_at
  end
  if total == 0 or total > MOST then
    return nil, "a slice has 1 to " .. MOST .. " tasks, not " .. total
  end
  return groups, total
end

local function too_large(what, size)
  local most = tonumber(redis.call("HGET", keys.hub, "max_payload"))
  if size > most then
    return reply.fail("TOOLARGE", string.format(
      "the %s has %.0f bytes; the limit is %.0f", what, size, most))
  end
end

-- Names the keys of the group's records and adds them to `names`.
local function check_tasks(group, seen, names)
  for at = group.from, group.from + 2 * group.count - 1, 2 do
    local id, size = ARGV[at], #ARGV[at + 1]
    if not argument.is_id(id) or seen[id] then
      return reply.fail("BADARG", "not a task id, or one twice: " .. id)
    end
    seen[id] = true
    if size == 0 then
      return reply.fail("BADARG", id .. " has no arguments, not even signed ones")
    end
    local refused = size > SMALL and too_large("payload of " .. id, size)
    if refused then
      return refused
    end
    names[#names + 1] = keys.task(id)
  end
end

local function check_function(group)
  if not string.find(group.digest, "^[A-Za-z0-9_-]+$") or #group.digest > 64 then
    return reply.fail("BADARG", "not a digest: " .. group.digest)
  end
  local size = #group.blob
  if size == 0 and not functions.known(group.digest) then
    return reply.fail("NOFN", group.digest)
  end
  return size > SMALL and too_large("function " .. group.name, size)
end

-- Leave out the tasks that the hub has already: a submit sent twice. Returns how
-- many, or nil and the error reply.
local function drop_known(group)
  local known, kept = 0, {}
  for at = group.from, group.from + 2 * group.count - 1, 2 do
    local id = ARGV[at]
    local f = redis.call("HMGET", keys.task(id), "fn", "args")
    if not f[1] then
      kept[#kept + 1] = at
    elseif f[1] == group.fn and record.part(id, "args", f[2]) == ARGV[at + 1] then
      known = known + 1
    else
      return nil, reply.fail("CONFLICT", id .. " is known with another function or arguments")
    end
  end
  group.kept = kept
  return known
end

-- Write one record. The fields that tasks of the group have in common are in the
-- same table for all of them; the arguments are its last value.
local function write(id, args, fields)
  fields[#fields] = record.fit(id, "args", args)
  redis.call("HSET", keys.task(id), unpack(fields))
end

local function enter(opened, group, sequence)
  local priority = tonumber(group.priority) or 0
  -- What is read most stands first: a listpack is searched from its beginning.
  local fields = {
    "state", "ready", "fn", group.fn, "submitted", string.format("%d", opened.stamp),
  }
  for _, value in ipairs(group.fields) do
    fields[#fields + 1] = value
  end
  fields[#fields + 1], fields[#fields + 2] = "args", ""
  local entries, length, last = {}, 0, group.from + 2 * group.count - 1
  local function add(at)
    local id = ARGV[at]
    write(id, ARGV[at + 1], fields)
    sequence = sequence + 1
    entries[length + 1], entries[length + 2] = line.score(priority, sequence), id
    length = length + 2
  end
  if group.kept then
    for _, at in ipairs(group.kept) do
      add(at)
    end
  else
    for at = group.from, last, 2 do
      add(at)
    end
  end
  line.enter(opened, group.queue or "default", entries)
  return sequence
end

local function check_scheme(group)
  return scheme_name == "pure" and require("lib.pure").refuse(group)
end

-- Check everything; name the records of all groups. Returns the error reply.
local function check(groups, names)
  local seen = {}
  for _, group in ipairs(groups) do
    local refused = check_tasks(group, seen, names) or check_function(group)
      or check_scheme(group)
    if refused then
      return refused
    end
  end
end

-- How many of the tasks are known already; or nil and the error reply.
local function count_known(groups, names)
  if redis.call("EXISTS", unpack(names)) == 0 then
    return 0
  end
  local known = 0
  for _, group in ipairs(groups) do
    local dropped, refused = drop_known(group)
    if refused then
      return nil, refused
    end
    known = known + dropped
  end
  return known
end

local function write_all(opened, groups, sequence)
  for _, group in ipairs(groups) do
    local count = group.kept and #group.kept or group.count
    if count > 0 then
      functions.need(group.digest, group.blob, group.name, count)
      redis.call("HSETNX", keys.queues, group.queue or "default", 0)
      sequence = enter(opened, group, sequence)
    end
  end
end

local function main(opened)
  local groups, total = parse()
  if not groups then
    return reply.fail("BADARG", total)
  end
  local names = {}
  local refused = check(groups, names)
  if refused then
    return refused
  end
  local known
  known, refused = count_known(groups, names)
  if refused then
    return refused
  end

  -- Writes below. The first is one that a full Redis refuses, so that submit
  -- says so before anything is there.
  local new = total - known
  local sequence = redis.call("HINCRBY", keys.hub, "submitted", new) - new
  write_all(opened, groups, sequence)
  return { "ok", new, known }
end

return hub.run(main)
