-- copies: new records with the function, arguments and flags of old ones.

local functions = require("lib.functions")
local keys = require("lib.keys")
local line = require("lib.line")
local newest = require("lib.newest")
local record = require("lib.record")
local settle = require("lib.settle")
local weight = require("lib.weight")

-- Fields given at the submission that the copy gets as they are.
local FIELDS = { "queue", "label", "retries", "ttl", "pause", "elsewhere", "priority" }
-- Likewise, but they are evaluated anew.
local JUDGED = { "args", "after", "follow", "refs", "targets", "timeout" }

local function is_said_anew(name)
  return name == "args" or name == "until" or name == "after" or name == "follow"
    or name == "refs" or name == "gate" or name == "later"
end

-- The sentence for a field that cannot be given anew, or not like this; else nil.
local function wrong(name, value)
  if not is_said_anew(name) then
    return "this cannot be changed: " .. name
  elseif name == "args" then
    return value == "" and "no arguments, not even signed ones" or nil
  elseif value == "" and (name == "after" or name == "follow" or name == "refs") then
    -- The copy has none.
    return nil
  end
  return require("lib.flags").wrong(name, value)
end

-- Read what is to be copied. Returns the old task's state, or nil if there is none.
local function read(copy)
  local f = record.get(copy.old, "state", "fn", "root", unpack(FIELDS))
  local judged = record.get(copy.old, unpack(JUDGED))
  copy.fn, copy.root = f[2], f[3] or copy.old
  copy.values, copy.sets = {}, {}
  for at, name in ipairs(FIELDS) do
    copy.values[name] = f[3 + at] or nil
  end
  for at, name in ipairs(JUDGED) do
    copy.values[name] = judged[at] or nil
  end
  -- A gate has no function, and is no task.
  return f[2] and f[1] or nil
end

-- A set or the refs of the copy, wherever the old ones are stored; nil if it has none.
local function said(copy, name)
  local text = copy.anew[name]
  if not text then
    text = record.part(copy.old, name, copy.values[name])
  end
  return text ~= "" and text or nil
end

-- The flags of the copy, by name.
local function flags_of(copy)
  local flags = {}
  for name, value in pairs(copy.values) do
    flags[name] = value
  end
  for _, name in ipairs({ "after", "follow", "refs" }) do
    flags[name] = said(copy, name)
  end
  flags.gate = copy.anew.gate
  return flags
end

-- How many bytes of arguments are to be copied, and how many members of dependencies to
-- be looked at.
local function size(copy)
  local args, members = copy.anew.args or copy.values.args, 0
  for _, name in ipairs({ "after", "follow" }) do
    local text = said(copy, name)
    local set = text and require("lib.depend").parse(text, copy.anew.later)
    copy.sets[name] = set
    members = members + (set and #set.ids or 0)
  end
  local bytes = args == "" and redis.call("STRLEN", keys.task(copy.old, "args")) or #args
  copy.bytes = bytes
  return bytes, members
end

-- The arguments; those stored beside the old record are stored beside the new one.
local function copy_args(copy)
  copy.marks = copy.values.ttl and "at" or "a"
  if copy.bytes > weight.SMALL then
    copy.marks = copy.marks .. "b"
  end
  if copy.anew.args then
    return record.fit(copy.id, "args", copy.anew.args)
  end
  if copy.values.args == "" then
    redis.call("COPY", keys.task(copy.old, "args"), keys.task(copy.id, "args"))
  end
  return record.fit(copy.id, "args", copy.values.args)
end

local function fn_of(copy)
  local digest = string.match(copy.fn, "^%S+")
  local options = string.match(copy.fn, "^%S+ %S* (.*)$")
  if copy.anew["until"] then
    return digest .. " " .. copy.anew["until"] .. (options and " " .. options or ""), digest
  end
  return copy.fn, digest
end

-- Fields of the record, flat, without those that lib/enter.lua writes.
local function fields_of(opened, copy)
  local fields = {
    "fn", copy.fn, "submitted", string.format("%d", opened.stamp),
    "root", copy.root, "resubmit_of", copy.old,
  }
  for _, name in ipairs(FIELDS) do
    if copy.values[name] then
      fields[#fields + 1], fields[#fields + 2] = name, copy.values[name]
    end
  end
  fields[#fields + 1], fields[#fields + 2] = "args", copy_args(copy)
  return fields
end

-- Does the copy wait for something, or can only some engines run it?
local function is_special(opened, copy)
  return said(copy, "after") or said(copy, "follow") or said(copy, "refs")
    or copy.anew.gate or copy.values.targets or copy.values.timeout
    or functions.refused(opened, copy.fn)
end

-- The short path, for tasks that simply enter the line of their queue.
local function enter_line(lines, copy, score, fields)
  if copy.marks ~= "" then
    fields[#fields + 1], fields[#fields + 2] = "marks", copy.marks
  end
  redis.call("HSET", keys.task(copy.id), "state", "ready", unpack(fields))
  local queue = copy.values.queue or "default"
  lines[queue] = lines[queue] or {}
  local entries = lines[queue]
  entries[#entries + 1], entries[#entries + 2] = score, copy.id
end

local function enter_special(opened, ending, copy, score, fields)
  require("lib.enter").enter(opened, ending, {
    id = copy.id, score = score, queue = copy.values.queue, fn = copy.fn,
    after = said(copy, "after"), follow = said(copy, "follow"), refs = said(copy, "refs"),
    targets = record.part(copy.old, "targets", copy.values.targets),
    gate = copy.anew.gate, later = copy.anew.later,
    timeout = copy.values.timeout, marks = copy.marks,
  }, copy.sets, fields)
end

-- Returns the gates of copies that do not exist yet.
local function new_gates(missing)
  local found, seen = {}, {}
  for _, copy in ipairs(missing) do
    local id = copy.anew.gate
    if id and not seen[id] then
      seen[id] = true
      if not record.exists(id) then
        found[#found + 1] = id
      end
    end
  end
  return found
end

local function ids_of(missing)
  local ids = {}
  for at, copy in ipairs(missing) do
    ids[at] = copy.id
  end
  return ids
end

-- Write the copies and let them enter, in order, after everything submitted before.
local function write(opened, missing, gates, sequence)
  local counts, lines, ending = {}, {}, settle.begin(opened)
  newest.note_all(ids_of(missing))
  newest.note_all(gates)
  for at, id in ipairs(gates) do
    require("lib.gate").make(opened, id, sequence - at + 1)
  end
  -- If one takes the general path, all do: they keep their order.
  local special = false
  for _, copy in ipairs(missing) do
    special = special or is_special(opened, copy)
  end
  for at, copy in ipairs(missing) do
    local digest
    copy.fn, digest = fn_of(copy)
    counts[digest] = (counts[digest] or 0) + 1
    redis.call("HSETNX", keys.queues, copy.values.queue or "default", 0)
    local score = line.score(tonumber(copy.values.priority) or 0, sequence + at)
    local fields = fields_of(opened, copy)
    if special then
      enter_special(opened, ending, copy, score, fields)
    else
      enter_line(lines, copy, score, fields)
    end
    redis.call("HSET", record.key(copy.old), "resubmitted", copy.id)
  end
  for digest, count in pairs(counts) do
    functions.need(digest, "", "", count)
  end
  for queue, entries in pairs(lines) do
    line.enter(opened, queue, entries)
  end
  require("lib.cascade").run(opened, ending)
  settle.close(ending)
  require("lib.hold").advance(opened)
end

return {
  wrong = wrong,
  read = read,
  flags = flags_of,
  size = size,
  new_gates = new_gates,
  write = write,
}
