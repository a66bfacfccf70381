-- after: new tasks that only wait for others to succeed, and may run anywhere.
--
-- Most that wait are such, and all of a typical chain or graph. Their records say so with
-- "!" after the counter, "as:3!", so that whoever counts down need not look for more: a
-- task gains no conditions while it waits. lib/enter.lua does the others.

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
    and not (group.follow or group.gate or group.targets or group.timeout or group.refs
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
  if marks then
    fields[last + 5], fields[last + 6] = "marks", marks
  end
  redis.call("HSET", keys.task(id), unpack(fields, 1, last + (marks and 6 or 4)))
  return marks
end

-- Enter one task, with what `common` returned. Returns false, having done nothing, if it
-- has to take the general path.
local function enter(opened, group, id, args, score, fields, last)
  local found = members_of(opened, id, group.sets.after.ids)
  if not found then
    return false
  end
  local task = { id = id, score = score }
  for at = 1, #found do
    depend.join_new(task, found[at])
  end
  task.marks = write(id, args, group, fields, last)
  hold.enter(opened, id, score)
  depend.remember(opened, task)
  return true
end

return {
  is_plain = is_plain,
  common = common,
  enter = enter,
}
