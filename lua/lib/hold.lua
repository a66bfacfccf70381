-- hold: tasks that wait for others, for a time or for a gate; and their release.
--
-- MOVES    new>waiting waiting>ready

local keys = require("lib.keys")
local rare = require("lib.rare")
local record = require("lib.record")
local states = require("lib.states")

-- Collect a new record, already written in state waiting, for the index, which gets all
-- those of a script at once. The score is the one it will have in its line.
local function enter(opened, id, score)
  states.check("new", "waiting")
  local entries = opened.entering or {}
  opened.entering = entries
  entries[#entries + 1], entries[#entries + 2] = score, id
end

-- Write to the index what has entered.
local function settle_in(opened)
  if opened.entering then
    require("lib.batches").zadd(keys.waiting, opened.entering)
    opened.entering = nil
  end
end

-- The class of a record that is to be ready: fields `targets`, `place`, `not`, `fn` and
-- `id`. "=" followed by no living engine is impossible.
local function class_of(opened, f)
  if f["not"] or f.targets or f.place or rare.is(opened, "r") then
    return require("lib.class").of_task(opened, f)
  end
  return ""
end

-- Add a task to the script's own list of those that are to enter a line.
local function list(opened, queue, stands, id, score)
  local fresh = opened.fresh or {}
  opened.fresh = fresh
  local at = queue .. ":" .. stands
  local entries = fresh[at]
  if not entries then
    entries = { queue = queue, class = stands }
    fresh[at] = entries
    fresh[#fresh + 1] = entries
  end
  local length = #entries
  entries[length + 1], entries[length + 2] = score, id
end

-- Note that a task is to enter a line. `flush` moves all of them at once; the record is in
-- state ready already.
local function note(opened, f, id, score, name)
  local queue = f.queue or "default"
  local stands = name == "" and "" or require("lib.class").line_of(queue, name)
  if stands ~= (f.class or "") then
    redis.call("HSET", record.key(id), "class", stands)
  end
  list(opened, queue, stands, id, score)
end

-- Undo the note for a task that is to go elsewhere. Returns whether there was one.
local function take_back(opened, f)
  local at = (f.queue or "default") .. ":" .. (f.class or "")
  local entries = opened.fresh and opened.fresh[at] or {}
  for place = 2, #entries, 2 do
    if entries[place] == f.id then
      table.remove(entries, place)
      table.remove(entries, place - 1)
      return true
    end
  end
  return false
end

-- Nothing holds this waiting task, as read by lib/depend.lua, any longer. Its new state
-- is noted in it, for the caller to save with the rest; `flush` does the other half.
local function release(opened, task, score, name)
  states.check("waiting", "ready")
  opened.leaving = opened.leaving or {}
  opened.leaving[#opened.leaving + 1] = task.id
  local last = #task.write
  task.write[last + 1], task.write[last + 2] = "state", "ready"
  note(opened, task, task.id, score, name)
end

-- Likewise for one that may run anywhere, of which only the queue was read.
local function release_plain(opened, id, score, queue)
  states.check("waiting", "ready")
  local leaving = opened.leaving or {}
  opened.leaving = leaving
  leaving[#leaving + 1] = id
  redis.call("HSET", keys.task(id), "state", "ready")
  list(opened, queue or "default", "", id, score)
end

local function stand(opened, entries)
  if entries.queue ~= opened.served then
    -- The last engine of the queue may have left while they waited.
    redis.call("HSETNX", keys.queues, entries.queue, 0)
  end
  if entries.class == "" then
    require("lib.batches").zadd(keys.ready(entries.queue), entries)
  else
    require("lib.class").add(opened, entries.queue, entries.class, entries)
  end
end

-- Move what was noted to its lines. Idle engines are told only by `advance`, because the
-- caller may be served first; or not at all, if they have been asked (`offered`).
local function flush(opened, offered)
  if opened.leaving then
    require("lib.batches").zrem(keys.waiting, opened.leaving)
    opened.leaving = nil
  end
  local fresh = opened.fresh
  if not fresh then
    return
  end
  opened.fresh = nil
  opened.advances = opened.advances or {}
  for _, entries in ipairs(fresh) do
    if #entries > 0 then
      stand(opened, entries)
      if not offered then
        opened.advances[#opened.advances + 1] = entries
      end
    end
  end
end

-- Is what becomes ready to be offered by `advance` only? So it is if something has entered
-- a line that is still to be offered, or if the script may release more than it knows yet.
local function gathers(opened)
  return opened.releases or opened.advances ~= nil and opened.advances[1] ~= nil
end

-- By queue, how many are to be offered and from which lines. In a chain the caller took
-- what became ready, and nothing is left.
local function gather(opened, advances)
  local queues, picky = {}, nil
  for _, entries in ipairs(advances) do
    if entries.class ~= "" and entries.class == require("lib.class").PICKY then
      picky = picky or {}
      picky[#picky + 1] = entries
    elseif #entries ~= 2 or entries[2] ~= opened.took then
      local found = queues[entries.queue]
      if not found then
        found = { queue = entries.queue, count = 0, classes = {} }
        queues[entries.queue], queues[#queues + 1] = found, found
      end
      found.count = found.count + #entries / 2
      found.classes[#found.classes + 1] = entries.class
      queues.several = queues.several or entries.class ~= ""
    end
  end
  return queues, picky
end

-- Give idle engines what has entered lines since `flush`.
local function advance(opened)
  flush(opened)
  local queues, picky = gather(opened, opened.advances or {})
  opened.advances = nil
  local several = rare.is(opened, "r") or opened.spared ~= nil or queues.several
  for _, found in ipairs(queues) do
    if several then
      require("lib.lines").advance(opened, found.queue, found.count, found.classes)
    else
      require("lib.plain").advance(opened, found.queue, found.count)
    end
  end
  -- These have constraints of their own.
  for _, entries in ipairs(picky or {}) do
    require("lib.lines").offer(opened, entries.queue, entries)
  end
end

return {
  enter = enter,
  settle_in = settle_in,
  class_of = class_of,
  note = note,
  take_back = take_back,
  release = release,
  release_plain = release_plain,
  flush = flush,
  gathers = gathers,
  advance = advance,
}
