-- single: submit one plain task, the short way.
--
-- A call for one task is what web backends make all day, and most of what submit.lua costs
-- is not the task: parsing groups, tables, and the functions themselves. So the usual is
-- done here, and anything else is left to the general way before anything is written.

local argument = require("lib.argument")
local engines = require("lib.engines")
local functions = require("lib.functions")
local keys = require("lib.keys")
local line = require("lib.line")
local parcel = require("lib.parcel")
local scheme = require("scheme")
local scheme_name = require("scheme_name")
local sheet = require("lib.sheet")
local work = require("lib.work")

-- Index of the first flag in ARGV.
local FLAGS = 6
-- Of `until`, which is in minutes.
local MOST_DIGITS = 15

-- Flags that a task may have and still simply enter its line.
local function is_usual(name)
  return name == "label" or name == "queue" or name == "priority" or name == "opts"
    or name == "retries" and scheme_name ~= "pure"
end

-- Seldom: a flag that is usual and right, as a field of the row, if it is one.
local function field_of(name, value)
  if not is_usual(name) or require("lib.flags").wrong(name, value) then
    return nil
  elseif name == "opts" or name == "priority" and tonumber(value) == 0 then
    return ""
  end
  return sheet.field(name, value)
end

-- Seldom: likewise if there are flags before `until`, the last, at `last` in ARGV.
local function read_others(fn, last)
  local fields, seen, queue, priority = "", "", "default", 0
  for at = FLAGS, last - 2, 2 do
    local name, value = ARGV[at], ARGV[at + 1]
    local field = field_of(name, value)
    if not field or string.find(seen, name, 1, true) then
      return nil
    end
    fields, seen = fields .. field, seen .. name .. " "
    if name == "opts" then
      fn = fn .. " " .. value
    elseif name == "queue" then
      queue = value
    elseif name == "priority" then
      priority = tonumber(value)
    end
  end
  return fn, fields, queue, priority
end

-- Returns the record's `fn`, its other fields as one text, the queue and the priority; nil if
-- a flag is unusual, or there twice. Without a table, since most tasks have just `until`.
local function read_flags(count)
  local last = FLAGS + 2 * count - 2
  if count == 0 then
    return ARGV[2], "", "default", 0
  elseif ARGV[last] ~= "until" or not string.find(ARGV[last + 1], "^%d+$")
    or #ARGV[last + 1] > MOST_DIGITS then
    return nil
  end
  local fn = ARGV[2] .. " " .. ARGV[last + 1]
  if count > 1 then
    return read_others(fn, last)
  end
  return fn, "", "default", 0
end

-- Is the task new, its function known, and does nothing wait in the line if an engine is
-- free? Also returns whether one is. EXISTS counts a key as often as it is named.
local function is_simple(id, digest, queue)
  local fn, free = keys.fn(digest), keys.free(queue)
  local found = redis.call("EXISTS", fn, fn, fn, fn, keys.task(id), keys.task(id), free)
  if found == 4 then
    return redis.call("HEXISTS", keys.rows, id) == 0, false
  end
  return found == 5 and redis.call("EXISTS", keys.ready(queue)) == 0
    and redis.call("HEXISTS", keys.rows, id) == 0, true
end

-- Seldom together: give the task to an idle engine. Returns false if it may have none.
local function hand_over(opened, queue, id, score, fn, args)
  local uuid = scheme.choose(keys.free(queue))
  if not uuid then
    return false
  end
  local engine = engines.find(uuid)
  if opened.hwm == 0 and engine.next and engine.next ~= "" then
    redis.call("HSET", keys.runs, id, work.start_one(opened, engine, engine.next, id))
    work.ring_with(opened, engine, id, 1, fn, sheet.FOLDED, args)
  else
    require("lib.place").give(opened, engine, id, score)
  end
  return true
end

-- Id, arguments, and what `read_flags` returns, of what is in ARGV; nil if that is not one
-- plain task.
local function read()
  local count = argument.count(ARGV[5])
  local at = count and FLAGS + 2 * count
  if not at or #ARGV ~= at + 2 or ARGV[at] ~= "1" or ARGV[3] ~= "" then
    return nil
  end
  local id, args = ARGV[at + 1], ARGV[at + 2]
  if argument.is_id(id) and args ~= "" and #args <= sheet.MOST and args ~= parcel.PARCEL then
    return id, args, read_flags(count)
  end
end

-- May tasks on this hub go the short way?
local function is_usual_hub(opened)
  return not opened.is_earlier
    and not (opened.rare and string.find(opened.rare, "[rp]"))
end

-- Submit what is in ARGV. Returns false, and has done nothing, if that is not one plain
-- task.
local function submit(opened)
  local id, args, fn, fields, queue, priority = read()
  if not fn or not is_usual_hub(opened) then
    return false
  end
  local simple, free = is_simple(id, ARGV[2], queue)
  if not simple then
    return false
  end

  -- Writes below; the first is refused at maxmemory.
  local score = line.score(priority, redis.call("HINCRBY", keys.hub, "submitted", "1"))
  if string.find(id, "-0", 1, true) then
    require("lib.newest").note_all({ id })
  end
  local common = sheet.field("fn", fn) .. fields
  redis.call("HSET", keys.rows, id, score .. sheet.head(opened.stamp, common) .. args)
  functions.need(ARGV[2], "", "", "1")
  line.admit()
  if not free or not hand_over(opened, queue, id, score, fn, args) then
    line.append(queue, score, id)
  end
  return true
end

return {
  submit = submit,
}
