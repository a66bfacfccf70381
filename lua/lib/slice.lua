-- slice: parse what one call submits: groups of tasks, from ARGV.
--
-- A group is a table: function, flags by name, `fields` of the record, `sets` that it
-- depends on, and where its tasks are in ARGV (`from`, `count`).

local argument = require("lib.argument")
local flags = require("lib.flags")

local MOST = 500
local MOST_MEMBERS = 2000
-- In place of a digest: a task like the group before it, but for what it comes after.
local LIKE = "^"

-- A task with one of these does not simply enter its queue's line.
local function is_special(name)
  return name == "after" or name == "follow" or name == "targets" or name == "timeout"
    or name == "start_in" or name == "start_at" or name == "gate" or name == "refs"
    or name == "later"
end

local function is_field(name)
  return not is_special(name) and name ~= "until" and name ~= "opts"
end

local function parse_flags(group, at, count)
  for offset = at, at + 2 * count - 2, 2 do
    local name, value = ARGV[offset], ARGV[offset + 1]
    local wrong, read = flags.wrong(name, value, group.later)
    if wrong then
      return wrong
    elseif group[name] then
      return "flag " .. name .. " is there twice"
    end
    group.sets[name] = type(read) == "table" and read or nil
    if is_special(name) then
      group.special = true
    end
    -- Some are not fields: `until` and `opts` are part of `fn`, enter.lua writes others.
    if is_field(name) and not (name == "priority" and tonumber(value) == 0) then
      group.fields[#group.fields + 1] = name
      group.fields[#group.fields + 1] = value
    end
    group[name] = value
  end
end

-- Seldom: count the members of its sets; returns what is wrong, if anything.
local function count_members(group)
  group.members = 0
  for _, set in pairs(group.later and {} or group.sets) do
    group.members = group.members + #set.ids
  end
  if group.later and not group.gate then
    return "only what stands behind a gate is told its members later"
  end
end

-- The digest, until when it may run, and options for the engine: what the signature binds
-- besides the id.
local function fn_of(group)
  if group.opts then
    return table.concat({ group.digest, group["until"] or "", group.opts }, " ")
  end
  return group["until"] and group.digest .. " " .. group["until"] or group.digest
end

-- Rare properties are flagged in one field, so that nobody need ask for them.
local function marks_of(group)
  if group.ttl or group.root then
    return (group.ttl and "t" or "") .. (group.root and "a" or "")
  end
end

-- The tasks stay in ARGV: id and arguments of the first are at `from`.
local function parse_group(at)
  local group = {
    digest = ARGV[at], blob = ARGV[at + 1], name = ARGV[at + 2], fields = {}, sets = {},
  }
  local length = argument.count(ARGV[at + 3])
  if not length or #ARGV < at + 4 + 2 * length then
    return nil, "a group that is none at argument " .. at
  end
  local wrong = parse_flags(group, at + 4, length)
  if wrong then
    return nil, wrong
  end
  group.fn, group.marks = fn_of(group), marks_of(group)
  wrong = group.special and count_members(group)
  if wrong then
    return nil, wrong
  end
  at = at + 4 + 2 * length
  local count = argument.count(ARGV[at])
  if not count or count < 1 or #ARGV < at + 2 * count then
    return nil, "a group without its tasks at argument " .. at
  end
  group.from, group.count = at + 1, count
  return group, at + 2 * count + 1
end

-- Seldom: the members of `after`, without its letters.
local function members_in(after)
  return string.match(after, " (.*)$")
end

-- Seldom: one task that differs from the group `base` only in its `after`, and needs the
-- results of all these if the other does. What it does not have itself it has from there.
local function parse_like(base, at)
  local after = ARGV[at + 1]
  local set = #ARGV >= at + 3 and require("lib.depend").parse(after)
  if not set or not base.after or base.refs and base.refs ~= members_in(base.after) then
    return nil, "a task like others that is none at argument " .. at
  end
  base.like = base.like or { __index = base }
  local group = setmetatable({
    base = base, blob = "", after = after, sets = { after = set, follow = base.sets.follow },
    refs = base.refs and members_in(after), from = at + 2, count = 1,
  }, base.like)
  local wrong = count_members(group)
  if wrong then
    return nil, wrong
  end
  return group, at + 4
end

-- All groups and the number of their tasks; or nil and what is wrong, in words.
local function parse()
  local groups, total, members, at, last = {}, 0, 0, 2, #ARGV
  if ARGV[last] == "@again" then
    groups.again, last = true, last - 1
  end
  local base
  while at <= last do
    local group, next_at
    if base and ARGV[at] == LIKE then
      group, next_at = parse_like(base, at)
    else
      group, next_at = parse_group(at)
      base = group
    end
    if not group then
      return nil, next_at
    end
    groups[#groups + 1] = group
    total = total + group.count
    members = members + (group.members or 0) * group.count
    at = next_at
  end
  if members > MOST_MEMBERS then
    return nil, "a slice has at most " .. MOST_MEMBERS .. " members in its dependencies"
  end
  if total == 0 or total > MOST then
    return nil, "a slice has 1 to " .. MOST .. " tasks, not " .. total
  end
  return groups, total
end

return {
  parse = parse,
}
