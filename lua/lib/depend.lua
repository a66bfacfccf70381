-- depend: what a task waits for, and when that can never come.
--
-- A set of tasks is met, or can never be met, as IPython.parallel's Dependency says:
-- `all` or any of them, where success or failure or both count. Its letters are "a" (all)
-- or "n" (any), then "s" and "f". While a set is undecided the record has its letters and
-- how many members have not ended, "as:3", in `na` (after) or `nf` (follow). A follow-any
-- set stays open after it is met, because every member that ends may allow one more
-- engine; `place` has the engines that it allows.
--
-- Here a task is a table: fields of its record by name, `id`, `score`, and `write` and
-- `drop`, the pending changes to the record.

local hold = require("lib.hold")
local keys = require("lib.keys")
local record = require("lib.record")
local states = require("lib.states")

local COUNTER = { after = "na", follow = "nf" }
-- How much of a list of engines is shown in a reason.
local MOST_SHOWN = 24
-- So many ids are compared with each other without a table.
local FEW = 8

-- The record of a task that may have to be moved; nil if there is none.
local function read(id)
  -- All of it: a listpack is searched from its beginning for each field.
  local fields = record.all(id)
  if #fields == 0 then
    return nil
  end
  local task = { id = id, write = {}, drop = {} }
  for at = 1, #fields, 2 do
    task[fields[at]] = fields[at + 1]
  end
  if task.targets == "" then
    task.targets = record.part(id, "targets", task.targets)
  end
  return task
end

local function put(task, name, value)
  task[name] = value
  task.write[#task.write + 1], task.write[#task.write + 2] = name, value
end

-- Have a field deleted, and cancel pending writes to it.
local function drop(task, name)
  task[name] = nil
  task.drop[#task.drop + 1] = name
  for at = #task.write - 1, 1, -2 do
    if task.write[at] == name then
      table.remove(task.write, at)
      table.remove(task.write, at)
    end
  end
end

-- Write pending changes.
local function save(task)
  if #task.write > 0 then
    redis.call("HSET", record.key(task.id), unpack(task.write))
  end
  if #task.drop > 0 then
    redis.call("HDEL", record.key(task.id), unpack(task.drop))
  end
  task.write, task.drop = {}, {}
end

-- Seldom: ids as keys.
local function set_of(ids)
  local seen = {}
  for _, id in ipairs(ids) do
    seen[id] = true
  end
  return seen
end

-- Is it among the first `count` ids? `seen` has them as keys if they are many.
local function is_among(ids, count, seen, id)
  if seen then
    return seen[id]
  end
  for at = 1, count do
    if ids[at] == id then
      return true
    end
  end
  return false
end

-- Seldom: a set whose ids are told with `link`, and looked at then: there may be very
-- many. Nil when malformed.
local function begin_set(text)
  local letters = string.match(text, "^([an]s?f?) [a-z0-9]+%-[0-9]+")
  return letters and #letters > 1 and { letters = letters, ids = {} } or nil
end

-- Letters and distinct ids of a set in text; nil when malformed.
local function parse(text, later)
  local argument = require("lib.argument")
  if later then
    return begin_set(text)
  end
  local letters, tail = string.match(text, "^([an]s?f?) (.+)$")
  if not letters or #letters < 2 then
    return nil
  end
  local ids, count, seen = {}, 0, nil
  for id in string.gmatch(tail, "%S+") do
    if not argument.is_id(id) then
      return nil
    end
    if count == FEW then
      seen = set_of(ids)
    end
    if not is_among(ids, count, seen, id) then
      count = count + 1
      ids[count] = id
      if seen then
        seen[id] = true
      end
    end
  end
  if count == 0 then
    return nil
  end
  return { letters = letters, ids = ids }
end

local function open_set(task, name)
  local letters, left = string.match(task[COUNTER[name]] or "", "^(%a+):(%d+)")
  return letters, tonumber(left)
end

local function set_open(task, name, letters, left)
  put(task, COUNTER[name], letters .. ":" .. left)
end

local function is_all(letters)
  return string.sub(letters, 1, 1) == "a"
end

-- A member that counts for follow ran on this engine. Returns why that can never be met.
local function allow(task, letters, label)
  if not is_all(letters) then
    put(task, "place", require("lib.ranges").with(task.place or "", tonumber(label)))
  elseif not task.place then
    put(task, "place", label)
  elseif task.place ~= label then
    return "follow: its tasks ran on engines " .. task.place .. " and " .. label
  end
end

-- A member of a set has ended on the engine `label` (nil: on none). Updates the task,
-- except for the counter; returns the reason when it can never run.
local function member_ended(task, name, letters, member)
  local counts = string.find(letters, member.state == "completed" and "s" or "f", 2, true)
  if not counts then
    if is_all(letters) then
      return name .. " " .. member.id .. ": " .. member.state
    end
  elseif name == "follow" then
    return member.label and allow(task, letters, member.label) or nil
  elseif not is_all(letters) then
    drop(task, "na")
  end
end

-- Is the set decided? Returns "met", "wait", or "never" and the reason.
local function decide(task, name)
  local letters, left = open_set(task, name)
  if not letters then
    return "met"
  elseif left > 0 or task.gate then
    return (name == "follow" and task.place and not is_all(letters)) and "met" or "wait"
  end
  drop(task, COUNTER[name])
  if name == "follow" and not task.place then
    return "never", "follow: none of its tasks ran where it could follow"
  elseif name == "after" and not is_all(letters) then
    return "never", "after: none of its tasks ended as it must"
  end
  return "met"
end

local function nowhere(task)
  if task.place and task.targets then
    return "engine " .. string.sub(task.place, 1, MOST_SHOWN) .. " to follow is gone, "
      .. "refused or no target"
  elseif task.place then
    return "follow: engine " .. string.sub(task.place, 1, MOST_SHOWN) .. " is gone or refused"
  end
  return "targets " .. string.sub(task.targets, 1, MOST_SHOWN) .. " are gone or refused"
end

-- Where the task may run: its class, "wait" if that may still grow, or nil and why it
-- never can.
local function find_class(opened, task)
  local name, queue = hold.class_of(opened, task), task.queue or "default"
  local class = name ~= "" and require("lib.class")
  if not class or class.is_possible(queue, name) then
    return name
  end
  local letters, left = open_set(task, "follow")
  if letters and not is_all(letters) and (left > 0 or task.gate) then
    local targets = hold.class_of(opened, {
      targets = task.targets, ["not"] = task["not"], fn = task.fn })
    if class.is_possible(queue, targets) then
      return "wait"
    end
  end
  return nil, nowhere(task)
end

-- What is to become of a waiting task: "wait", "ready" and its class, or "never" and
-- the reason.
local function judge(opened, task)
  local after, why = decide(task, "after")
  if after == "never" then
    return after, why
  end
  local follow
  follow, why = decide(task, "follow")
  if follow == "never" then
    return follow, why
  end
  local name = "wait"
  if follow == "met" or task.targets or task.place then
    name, why = find_class(opened, task)
    if not name then
      return "never", why
    end
  end
  if after == "wait" or follow == "wait" or name == "wait" or task.gate or task.start then
    return "wait"
  end
  return "ready", name
end

-- A member as its record says, or the tombstone; nil if it is unknown.
local function read_member(id)
  local f = record.get(id, "state", "engine", "marks", "kept")
  local state = f[1] or require("lib.tombs").state_of(id)
  if not state then
    return nil
  end
  return {
    -- Of one that has ended it is where it last ran (lib/finish.lua).
    id = id, state = state, label = string.match(f[2] or "", "^%d+"),
    marks = f[3] or "", kept = tonumber(f[4] or 0), buried = not f[1],
    runs_on = state == "running" and f[2] or nil,
  }
end

-- What is known of a member, read once per script; nil if it is unknown: it may still be
-- submitted.
local function member_of(opened, id)
  local members = opened.members or {}
  opened.members = members
  local known = members[id]
  if known == nil then
    local marks = opened.entered and opened.entered[id]
    known = marks and { id = id, state = "waiting", marks = marks, kept = 0 }
      or read_member(id)
    members[id] = known
  end
  return known
end

-- A task that has just entered, with these marks if any, and waits, may be a member for
-- the next.
local function remember(opened, id, marks)
  local entered = opened.entered or {}
  opened.entered = entered
  entered[id] = marks or ""
end

-- Mark a record with a letter, once; returns whether that is new.
local function mark(known, letter)
  if string.find(known.marks, letter, 1, true) then
    return false
  end
  known.marks, known.changed = known.marks .. letter, true
  return true
end

-- One more task needs the result of this one.
local function keep(known)
  known.kept, known.changed = known.kept + 1, true
  mark(known, "k")
end

-- Keep the parents whose results a task needs as long as the task. Returns their ids,
-- without those that do not exist any more, or yet; nil if there are none.
local function keep_parents(opened, refs)
  local kept = {}
  for id in string.gmatch(refs, "%S+") do
    local known = member_of(opened, id)
    if known and not known.buried then
      keep(known)
      kept[#kept + 1] = id
    end
  end
  return #kept > 0 and table.concat(kept, " ") or nil
end

-- Write pending changes of members, once for each.
local function save_members(opened)
  for id, known in pairs(opened.members or {}) do
    if known and known.joining then
      require("lib.batches").zadd(keys.task(id, "dependents"), known.joining)
      known.joining = nil
    end
    if known and known.changed then
      known.changed = nil
      local fields = { "marks", known.marks }
      if known.kept > 0 then
        fields[3], fields[4] = "kept", known.kept
      end
      redis.call("HSET", record.key(id), unpack(fields))
      if known.runs_on then
        require("lib.held").mark(known.runs_on, id)
      end
    end
  end
end

-- Add a task to the dependents of a member. The letter says for which set: a after, f
-- follow, g gate. Returns false if it was there already.
local function join(task, letter, known)
  local new = redis.call("ZADD", keys.task(known.id, "dependents"), "NX",
    task.score, letter .. task.id)
  mark(known, "d")
  return new == 1
end

-- Likewise for a task that is new, and so not there yet; `save_members` writes it.
local function join_new(id, score, known)
  local joining = known.joining or {}
  known.joining = joining
  local length = #joining
  joining[length + 1], joining[length + 2] = score, "a" .. id
  mark(known, "d")
end

-- Look at the members of a set. Returns why the task can never run, if so, and the
-- verdict: "invalid" or "impossible".
local function look(opened, task, name, set)
  local letter, open = string.sub(name, 1, 1), 0
  for _, id in ipairs(set.ids) do
    local known = id ~= task.id and member_of(opened, id)
    if not known then
      local wrong = id == task.id and " is the task itself" or " is unknown"
      return name .. " " .. id .. wrong, "invalid"
    elseif states.is_ended(known.state) then
      local never = member_ended(task, name, set.letters, known)
      if never then
        return never, "impossible"
      elseif not open_set(task, name) then
        -- Met already.
        return nil
      end
    elseif join(task, letter, known) then
      open = open + 1
    end
  end
  local letters, left = open_set(task, name)
  if letters then
    set_open(task, name, letters, left + open)
  end
end

-- Seldom: the gate of a task is open, and it waits. If that is only for the success of
-- others, and it may run anywhere, say so as lib/after.lua does: it may have thousands of
-- members, and each would be a reason to read all of its record.
local function simplify(task)
  if string.find(task.na or "", "^as:%d+$") and not (task.nf or task.place or task.targets
    or task["not"] or task.start or task.timeout) then
    put(task, "na", task.na .. "!")
  end
end

-- A member has ended: letter, task and member. Returns "wait", "ready" and the class,
-- "never" and the reason, "aborted", or nil if it does not matter.
local function told(opened, task, letter, member)
  if letter == "g" then
    if not task.gate then
      return nil
    elseif member.state ~= "completed" then
      return "aborted"
    end
    drop(task, "gate")
    local what, more = judge(opened, task)
    if what == "wait" then
      simplify(task)
    end
    return what, more
  end
  local name = letter == "a" and "after" or "follow"
  local letters, left = open_set(task, name)
  if not letters then
    return nil
  end
  set_open(task, name, letters, left - 1)
  local never = member_ended(task, name, letters, member)
  if never then
    return "never", never
  end
  return judge(opened, task)
end

return {
  read = read,
  put = put,
  drop = drop,
  save = save,
  parse = parse,
  set_open = set_open,
  find_class = find_class,
  judge = judge,
  member_of = member_of,
  remember = remember,
  mark = mark,
  keep = keep,
  keep_parents = keep_parents,
  save_members = save_members,
  join = join,
  join_new = join_new,
  look = look,
  told = told,
}
