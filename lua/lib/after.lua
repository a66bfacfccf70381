-- after: new tasks that only wait for others to succeed, and may run anywhere.
--
-- Most that wait are such, and all of a typical chain or graph, also if the results of
-- those others are among their arguments. Their records say so with "!" after the
-- counter, "as:3!", so that whoever counts down need not look for more: a task gains no
-- conditions while it waits. lib/enter.lua does the others, which become such when the
-- gate that they stand behind opens (lib/depend.lua).

local depend = require("lib.depend")
local hold = require("lib.hold")
local keys = require("lib.keys")
local record = require("lib.record")
local states = require("lib.states")

-- Where in the fields how many members are left is.
local COUNT = 4

-- Are the tasks of this group such? lib/slice.lua has parsed it.
local function is_plain(group)
  local set = group.sets.after
  return set and set.letters == "as"
    and not (group.follow or group.gate or group.targets or group.timeout
      or group.start_in or group.start_at or group.later)
end

-- What the group's records have in common, and with those of groups like it. Arguments,
-- the set and marks come last.
local function common(opened, group)
  local base = group.base or group
  if not base.common then
    local fields = {
      "state", "waiting", "na", "", "fn", group.fn,
      "submitted", string.format("%d", opened.stamp), unpack(group.fields),
    }
    local last = #fields
    fields[last + 1], fields[last + 3] = "args", "after"
    base.common, base.last = fields, last
  end
  base.common[COUNT] = "as:" .. #group.sets.after.ids .. "!"
  return base.common, base.last
end

-- The members, if all exist and none has ended; else nil.
local function members_of(opened, id, ids)
  local found = {}
  for at = 1, #ids do
    local known = ids[at] ~= id and depend.member_of(opened, ids[at])
    if not known or states.is_ended(known.state) then
      return nil
    end
    found[at] = known
  end
  return found
end

local function write(id, args, group, fields, last)
  local value, marks = record.arguments(id, args, group.marks)
  fields[last + 2] = value
  fields[last + 4] = record.fit(id, "after", group.after)
  local length = last + 4
  if group.refs then
    marks = (marks or "") .. "r"
    fields[length + 1], fields[length + 2] = "refs", record.fit(id, "refs", group.refs)
    length = length + 2
  end
  if marks then
    fields[length + 1], fields[length + 2] = "marks", marks
    length = length + 2
  end
  redis.call("HSET", keys.task(id), unpack(fields, 1, length))
  return marks
end

-- Seldom: of members as found, those whose results the task needs; nil if there are others.
local function needed(ids, found, refs)
  local members, parents = {}, {}
  for at = 1, #ids do
    members[ids[at]] = found[at]
  end
  for id in string.gmatch(refs, "%S+") do
    if not members[id] then
      return nil
    end
    parents[#parents + 1] = members[id]
  end
  return parents
end

-- Enter one task, with what `common` returned. Returns false, having done nothing, if it
-- has to take the general path.
local function enter(opened, group, id, args, score, fields, last)
  local ids = group.sets.after.ids
  local found = members_of(opened, id, ids)
  local parents = found and group.refs and needed(ids, found, group.refs)
  if not found or group.refs and not parents then
    return false
  end
  for at = 1, parents and #parents or 0 do
    depend.keep(parents[at])
  end
  for at = 1, #found do
    depend.join_new(id, score, found[at])
  end
  local marks = write(id, args, group, fields, last)
  hold.enter(opened, id, score)
  depend.remember(opened, id, marks)
  return true
end

return {
  is_plain = is_plain,
  common = common,
  enter = enter,
}
