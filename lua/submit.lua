-- submit: add a slice of tasks, all or none.
--
-- KEYS     root
-- ARGV     now (digest blob name n (flag value)*n m (id args)*m | "^" after id args)*
-- RETURNS  {"ok", new, known}
-- MOVES    -
-- ERRORS   NOHUB SCHEMA SCHEME NOW BADARG TOOLARGE NOFN CONFLICT PURE
-- COST     O((tasks + members) * log ready), at most 500 tasks and 2,000 members
--
-- A group has one function and one set of flags for all its tasks. The blob is empty when
-- the client believes that the hub knows the digest, or when an earlier group has it. A
-- task after "^" differs from the group before it only in what it comes after; and if that
-- needs the results of all it comes after, so does this.
-- Submitting the same task again changes nothing; a different payload under its id is an
-- error. Large arguments may have been sent ahead as a parcel.
--
-- A final `@again` marks a retry after a lost reply: tasks purged meanwhile count as
-- known.
--
-- Dependencies were submitted before, or earlier in this call. If one is unknown, or can
-- never be met, the task ends at once. Tasks with the flag `gate` wait until that gate is
-- opened; the first to name a gate makes it. With `later` the members of their sets are
-- added with `link`.

local argument = require("lib.argument")
local functions = require("lib.functions")
local hub = require("lib.hub")
local keys = require("lib.keys")
local line = require("lib.line")
local order = require("lib.order")
local parcel = require("lib.parcel")
local rare = require("lib.rare")
local record = require("lib.record")
local reply = require("lib.reply")
local scheme_name = require("scheme_name")
local single = require("lib.single")
local slice = require("lib.slice")

-- For groups up to this size, what was written is remembered: idle engines are few.
local FEW = 4
-- Groups of this size or larger go on the sheet.
local SEVERAL = 2
-- No hub has a lower limit: smaller payloads need not be checked.
local SMALL = 65536

-- Seldom needed.
local function too_large(what, size)
  local most = tonumber(redis.call("HGET", keys.hub, "max_payload"))
  if size > most then
    return reply.fail("TOOLARGE", string.format(
      "the %s has %.0f bytes; the limit is %.0f", what, size, most))
  end
end

-- Seldom: what is wrong with a task, apart from its id: the error reply, or nothing.
local function check_task(group, id, size)
  if size == 0 then
    return reply.fail("BADARG", id .. " has no arguments, not even signed ones")
  elseif group.refs and string.find(" " .. group.refs .. " ", " " .. id .. " ", 1, true) then
    return reply.fail("BADARG", id .. " cannot have its own result as an argument")
  end
  return size > SMALL and too_large("payload of " .. id, size)
end

-- Checks the tasks of a group, and that each comes after the one before it.
local function check_tasks(group, begun)
  local pattern, last, refs, digits = begun.pattern, begun.last, group.refs, nil
  for at = group.from, group.from + 2 * group.count - 1, 2 do
    local id, args = ARGV[at], ARGV[at + 1]
    local size = args == parcel.PARCEL and parcel.size(id) or #args
    digits = string.match(id, pattern)
    local number = digits and tonumber(digits)
    if number and number > last and #id <= argument.LONGEST_ID then
      last = number
    else
      begun.irregular = true
    end
    if size == 0 or size > SMALL or refs then
      local refused = check_task(group, id, size)
      if refused then
        return refused
      end
    end
  end
  begun.last, begun.digits = last, digits
end

-- `brought` has the digests that are known, or that an earlier group brings.
local function check_function(group, brought)
  local size = #group.blob
  if size == 0 and brought[group.digest] then
    return nil
  end
  if not string.find(group.digest, "^[A-Za-z0-9_-]+$") or #group.digest > 64 then
    return reply.fail("BADARG", "not a digest: " .. group.digest)
  end
  if size == 0 and not functions.known(group.digest) then
    return reply.fail("NOFN", group.digest)
  end
  brought[group.digest] = true
  return size > SMALL and too_large("function " .. group.name, size)
end

-- Seldom: arguments, inline or from a parcel.
local function given(id, args)
  return args == parcel.PARCEL and parcel.content(id) or args
end

-- Seldom: a submit was sent twice: drop the tasks that the hub already has. Returns how
-- many, or nil and the error reply.
local function drop_known(group, again)
  local known, kept = 0, {}
  for at = group.from, group.from + 2 * group.count - 1, 2 do
    local id = ARGV[at]
    local f = record.get(id, "state", "args", "fn")
    if not f[1] and again and require("lib.tombs").state_of(id) then
      known = known + 1
    elseif not f[1] then
      kept[#kept + 1] = at
    elseif f[3] == group.fn and record.part(id, "args", f[2]) == given(id, ARGV[at + 1]) then
      known = known + 1
    else
      -- Or the id is a gate's, which has no function.
      return nil, reply.fail("CONFLICT", id .. " is known with another function or arguments")
    end
  end
  group.kept = kept
  return known
end

-- Write one record. `fields` is one table for all tasks of the group; the arguments are
-- its last value. Returns the task's marks.
local function write(id, args, fields, marks)
  local value, own = record.arguments(id, args, marks)
  fields[#fields] = value
  redis.call("HSET", keys.task(id), unpack(fields))
  if own ~= marks then
    redis.call("HSET", keys.task(id), "marks", own)
  end
  return own
end

local function count_of(group)
  return group.kept and #group.kept or group.count
end

-- Remember what an engine needs to know of a task that it may be handed at once.
local function keep(opened, id, known)
  opened.written = opened.written or {}
  opened.written[id] = known
end

-- Fields of the group's records; the arguments, different for each task, come last. The
-- most read fields come first: a listpack is searched from its beginning.
local function fields_of(opened, group)
  local fields = {
    "state", "ready", "fn", group.fn, "submitted", string.format("%d", opened.stamp),
    unpack(group.fields),
  }
  if group.marks then
    fields[#fields + 1], fields[#fields + 2] = "marks", group.marks
  end
  fields[#fields + 1], fields[#fields + 2] = "args", ""
  return fields
end

-- Write tasks as hashes of their own. Returns their entries in the line: flat score, id.
local function enter_own(opened, group, count, base)
  local fields, entries = fields_of(opened, group), {}
  for number = 1, count do
    local at = group.kept and group.kept[number] or group.from + 2 * (number - 1)
    local id = ARGV[at]
    entries[2 * number - 1], entries[2 * number] = string.format("%d", base + number), id
    local marks = write(id, ARGV[at + 1], fields, group.marks)
    if group.count <= FEW then
      keep(opened, id, { group.fn, fields[#fields], marks or false })
    end
  end
  return entries
end

-- Seldom: likewise, but on the sheet where possible.
local function enter_folded(opened, group, count, base)
  local sheet, format, kept, from = require("lib.sheet"), string.format, group.kept, group.from
  local head = sheet.head_of(opened.stamp, { "fn", group.fn, unpack(group.fields) })
  local entries, rows, length, last, fields = {}, {}, 0, 0, nil
  for number = 1, count do
    local at = kept and kept[number] or from + 2 * (number - 1)
    local id, args, score = ARGV[at], ARGV[at + 1], format("%d", base + number)
    entries[last + 1], entries[last + 2] = score, id
    last = last + 2
    if #args <= sheet.MOST and args ~= parcel.PARCEL then
      rows[length + 1], rows[length + 2] = id, score .. head .. args
      length = length + 2
    else
      fields = fields or fields_of(opened, group)
      write(id, args, fields)
    end
  end
  if length > 0 then
    redis.call("HSET", keys.rows, unpack(rows))
  end
  if count <= FEW then
    for at = 1, length, 2 do
      keep(opened, rows[at], { row = rows[at + 1] })
    end
  end
  return entries
end

local function enter(opened, group, sequence)
  local count = count_of(group)
  local base = line.base(tonumber(group.priority) or 0, sequence)
  local folds = count >= SEVERAL and not group.marks and not opened.is_earlier
  local entries = (folds and enter_folded or enter_own)(opened, group, count, base)
  line.enter(opened, group.queue or "default", entries)
  opened.written = nil
  return sequence + count
end

-- Seldom needed.
local function start_of(opened, group)
  if group.start_at then
    return tonumber(group.start_at)
  end
  return group.start_in and opened.stamp + tonumber(group.start_in) or nil
end

-- Seldom: one task, by the general path.
local function enter_one(opened, ending, group, id, args, score, fields, last)
  local value, marks = record.arguments(id, args, group.marks)
  fields[last + 2] = value
  require("lib.enter").enter(opened, ending, {
    id = id, score = score, queue = group.queue, fn = group.fn,
    after = group.after, follow = group.follow, refs = group.refs, gate = group.gate,
    targets = group.targets, timeout = group.timeout, marks = marks,
    later = group.later, start = start_of(opened, group),
  }, group.sets, fields)
end

-- Seldom: what the records of such a group have in common; the arguments come last.
local function special_fields(opened, group)
  local fields = {
    "fn", group.fn, "submitted", string.format("%d", opened.stamp), unpack(group.fields),
  }
  fields[#fields + 1] = "args"
  return fields, #fields - 1
end

-- Seldom: tasks that wait for something, or that not every engine may run.
local function enter_special(opened, ending, group, sequence)
  local after = require("lib.after")
  local priority = tonumber(group.priority) or 0
  local places, common, length, fields, last = group.kept, nil, nil, nil, nil
  if after.is_plain(group) then
    common, length = after.common(opened, group)
  end
  for number = 1, places and #places or group.count do
    local at = places and places[number] or group.from + 2 * (number - 1)
    local id = ARGV[at]
    sequence = sequence + 1
    local score = line.score(priority, sequence)
    if not common or not after.enter(opened, group, id, ARGV[at + 1], score, common, length) then
      if not fields then
        fields, last = special_fields(opened, group)
      end
      enter_one(opened, ending, group, id, ARGV[at + 1], score, fields, last)
    end
  end
  return sequence
end

-- Has some engine refused the group's function for good?
local function is_refused(opened, group)
  return rare.is(opened, "r")
    and redis.call("HEXISTS", keys.fn(group.digest), "refused") == 1
end

-- Returns the gates that groups name and that do not exist yet.
local function new_gates(groups)
  local found, seen = {}, {}
  for _, group in ipairs(groups) do
    local id = group.gate
    if id and not seen[id] and not record.exists(id) then
      found[#found + 1] = id
    end
    if id then
      seen[id] = true
    end
  end
  return found
end

local function check_scheme(group)
  return scheme_name == "pure" and require("lib.pure").refuse(group)
end

-- Check everything. Returns the order of the ids; or nil and the error reply.
local function check(groups)
  local begun, brought = order.begin(groups), {}
  for _, group in ipairs(groups) do
    local refused = check_tasks(group, begun) or check_function(group, brought)
      or check_scheme(group)
    if refused then
      return nil, refused
    end
  end
  local refused = order.check(begun, groups)
  if refused then
    return nil, refused
  end
  return begun
end

-- Returns how many of the tasks are known already; or nil and the error reply.
local function count_known(groups, begun)
  if order.is_new(begun, groups) and not groups.again then
    return 0
  end
  local known = 0
  for _, group in ipairs(groups) do
    local dropped, refused = drop_known(group, groups.again)
    if refused then
      return nil, refused
    end
    known = known + dropped
  end
  return known
end

-- Do its tasks simply enter the line of their queue?
local function is_plain(opened, group)
  return not group.special and not is_refused(opened, group)
end

-- Write what groups share, often all of them, once: functions, queues.
local function write_needs(opened, groups)
  local needs, queues = {}, {}
  for _, group in ipairs(groups) do
    local count, queue = count_of(group), group.queue or "default"
    local need = needs[group.digest]
    if need then
      need.count = need.count + count
      need.blob = need.blob ~= "" and need.blob or group.blob
    else
      need = { digest = group.digest, blob = group.blob, name = group.name, count = count }
      needs[#needs + 1], needs[group.digest] = need, need
    end
    -- For plain groups, line.enter does this.
    if count > 0 and not queues[queue] and not is_plain(opened, group) then
      queues[queue] = true
      redis.call("HSETNX", keys.queues, queue, 0)
    end
  end
  for _, need in ipairs(needs) do
    if need.count > 0 then
      functions.need(need.digest, need.blob, need.name, need.count)
    end
  end
end

local function write_group(opened, ending, group, sequence)
  if count_of(group) == 0 then
    return sequence, ending
  elseif is_plain(opened, group) then
    if ending then
      -- What came before enters its line first.
      require("lib.cascade").run(opened, ending)
      require("lib.hold").advance(opened)
    end
    return enter(opened, group, sequence), ending
  end
  ending = ending or require("lib.settle").begin(opened)
  return enter_special(opened, ending, group, sequence), ending
end

local function write_all(opened, groups, sequence)
  local ending
  write_needs(opened, groups)
  for _, group in ipairs(groups) do
    sequence, ending = write_group(opened, ending, group, sequence)
  end
  if ending then
    require("lib.cascade").run(opened, ending)
    require("lib.settle").close(ending)
    require("lib.hold").advance(opened)
  end
end

-- Seldom together: the general way.
local function submit(opened)
  local groups, total = slice.parse()
  if not groups then
    return reply.fail("BADARG", total)
  end
  local begun, refused = check(groups)
  if not begun then
    return refused
  end
  local known
  known, refused = count_known(groups, begun)
  if refused then
    return refused
  end

  local new = total - known
  if new == 0 then
    -- A retry must succeed even at maxmemory.
    return { "ok", 0, known }
  end

  -- Writes below. The first is refused at maxmemory, before anything has changed.
  local gates = new_gates(groups)
  local counted = opened.is_earlier and #gates or 0
  local sequence = redis.call("HINCRBY", keys.hub, "submitted", new + counted) - new
  order.note(begun, groups, gates)
  for number, id in ipairs(gates) do
    require("lib.gate").make(opened, id, sequence - number + 1)
  end
  write_all(opened, groups, sequence)
  return { "ok", new, known }
end

local function main(opened)
  if single.submit(opened) then
    return { "ok", 1, 0 }
  end
  return submit(opened)
end

return hub.run(main)
