-- forget: remove ended tasks, when their retention is over or before.
--
-- MOVES    completed>gone failed>gone aborted>gone

local batches = require("lib.batches")
local functions = require("lib.functions")
local keys = require("lib.keys")
local record = require("lib.record")
local settle = require("lib.settle")
local sheet = require("lib.sheet")
local states = require("lib.states")
local weight = require("lib.weight")

-- After how many ms a record that is needed is looked at again.
local LATER = 3600000
local FOREVER, OWN = settle.FOREVER, settle.OWN
-- A script releases so many bytes of ids at most, some 400: there may be very many.
local MOST_RELEASED = 8000

-- Is the record still needed: by a task that has its result among its arguments, or by
-- dependents that are still to be told? Returns its marks, too.
local function is_needed(id)
  local marks = redis.call("HGET", keys.task(id), "marks") or ""
  return string.find(marks, "k", 1, true) or redis.call("ZSCORE", keys.unsettled, id), marks
end

-- Nobody needs the result of this one any more.
local function release(opened, id)
  local key = keys.task(id)
  local f = redis.call("HMGET", key, "state", "marks")
  redis.call("HDEL", key, "kept")
  redis.call("HSET", key, "marks", (string.gsub(f[2] or "", "[kp]", "")))
  if string.find(f[2] or "", "p", 1, true) then
    redis.call("ZADD", keys.ended(f[1]), opened.stamp, id)
  end
end

-- This task no longer needs the results of others; of very many, of the last. Returns how
-- many bytes of ids were released, and whether these were all.
local function release_parents(opened, id)
  local refs = record.part(id, "refs", redis.call("HGET", keys.task(id), "refs")) or ""
  local from, length = 1, #refs
  if length > MOST_RELEASED then
    from = string.find(refs, " ", length - MOST_RELEASED, true) + 1
    redis.call("SET", keys.task(id, "refs"), string.sub(refs, 1, from - 2))
  end
  for parent in string.gmatch(string.sub(refs, from), "%S+") do
    local key = keys.task(parent)
    if redis.call("EXISTS", key) == 1 and redis.call("HINCRBY", key, "kept", -1) <= 0 then
      release(opened, parent)
    end
  end
  return length - from + 1, from == 1
end

-- The retention of a task is over, but it is needed: look at it again later. One that is
-- kept for others is marked, and goes with the last of these. `from` is where its part of
-- the index begins.
local function put_off(opened, id, state, from)
  local key = keys.task(id)
  local marks = redis.call("HGET", key, "marks") or ""
  if string.find(marks, "k", 1, true) and not string.find(marks, "p", 1, true) then
    redis.call("HSET", key, "marks", marks .. "p")
  end
  local pause = LATER
  if math.abs(settle.retention(opened, state) - pause) < pause / 2 then
    -- It would be listed as one that ended just now.
    pause = 2 * pause
  end
  redis.call("ZADD", keys.ended(state), string.format("%d", from + opened.stamp + pause), id)
end

-- Remove those of these ended tasks that are on the sheet, all at once: nothing is stored
-- beside them, and nobody needs them. Returns the others, and the bytes freed.
local function folded(opened, ids, state)
  if #ids == 0 then
    return ids, 0
  end
  local others, gone, functions_of, bytes = {}, {}, {}, 0
  for at, row in ipairs(batches.hmget(keys.rows, ids)) do
    if row then
      local digest = string.match(sheet.read(row), "^%S+")
      functions_of[digest] = (functions_of[digest] or 0) + 1
      gone[#gone + 1] = ids[at]
    else
      others[#others + 1] = ids[at]
    end
  end
  if #gone == 0 then
    return others, 0
  end
  states.check(state, "gone")
  for _, run in ipairs(batches.hmget(keys.runs, gone)) do
    bytes = bytes + (run and weight.of_run(run) or 0)
  end
  sheet.remove(gone)
  batches.zrem(keys.ended(state), gone)
  for digest, count in pairs(functions_of) do
    functions.release(opened, digest, count)
  end
  if bytes > 0 then
    redis.call("HINCRBY", keys.hub, "kept_bytes", -bytes)
  end
  return others, bytes + #gone * weight.RECORD
end

-- Remove the record, everything beside it, and its entry in the index of its state.
-- Returns the bytes freed.
local function task(opened, id, state)
  states.check(state, "gone")
  local key = keys.task(id)
  local parts = record.parts()
  local f = redis.call("HMGET", key, "fn", "tries", "refusals", "ttl", unpack(parts))
  if not f[1] then
    local others, took = folded(opened, { id }, state)
    if #others == 0 then
      return took
    end
  end
  local doomed, bytes = { key }, 0
  if f[2] then
    doomed[#doomed + 1] = keys.task(id, "attempts")
  end
  if f[3] then
    doomed[#doomed + 1] = keys.task(id, "refusals")
  end
  for at, part in ipairs(parts) do
    local value = f[4 + at]
    if value == "" then
      doomed[#doomed + 1] = keys.task(id, part)
      bytes = bytes + weight.of_part(id, part)
    end
  end
  redis.call("UNLINK", unpack(doomed))
  redis.call("ZREM", keys.ended(state), id)
  if f[4] then
    redis.call("ZREM", keys.latest(state), id)
  end
  local digest = string.match(f[1] or "", "^%S+")
  if digest then
    functions.release(opened, digest, 1)
  elseif not f[1] then
    -- A gate.
    require("lib.timers").clear("g", id)
  end
  if bytes > 0 then
    redis.call("HINCRBY", keys.hub, "kept_bytes", -bytes)
  end
  return bytes + weight.RECORD
end

-- Remove a record with these marks that nobody needs; one that needs very many others in
-- several steps. Returns the bytes freed, or nil if it is still there; and how many bytes
-- of ids were released.
local function leave(opened, id, state, marks)
  local released, all = 0, true
  if string.find(marks, "r", 1, true) then
    released, all = release_parents(opened, id)
  end
  return all and task(opened, id, state) or nil, released
end

-- Forget at most `count` ended tasks of a state whose retention is over, those that are
-- needed excepted, in the part of its index that begins there. Returns how many were
-- looked at; `count` if there is more to do.
local function expired_of(opened, state, from, count)
  local due = redis.call("ZRANGEBYSCORE", keys.ended(state), string.format("%d", from),
    string.format("%d", from + opened.stamp), "LIMIT", 0, count)
  local released = 0
  for _, id in ipairs((folded(opened, due, state))) do
    local needed, marks = is_needed(id)
    if needed then
      put_off(opened, id, state, from)
    else
      local _, some = leave(opened, id, state, marks)
      released = released + some
      if released >= MOST_RELEASED then
        return count
      end
    end
  end
  return #due
end

-- Likewise of all states. Who goes may have been the last to need others.
local function expired(opened, count)
  local looked = 0
  repeat
    local before = looked
    for _, state in ipairs(states.ended()) do
      looked = looked + expired_of(opened, state, 0, count - looked)
      looked = looked + expired_of(opened, state, OWN, count - looked)
    end
  until looked == before or looked == count
  return looked
end

-- At most `count` of each state, in the order in which they are to leave.
local function oldest(count)
  local found = {}
  for _, state in ipairs(states.ended()) do
    local members = redis.call("ZRANGE", keys.ended(state), 0, count - 1, "WITHSCORES")
    for at = 1, #members, 2 do
      found[#found + 1] = { id = members[at], state = state, at = tonumber(members[at + 1]) }
    end
  end
  table.sort(found, function(one, other)
    return one.at < other.at or (one.at == other.at and one.id < other.id)
  end)
  return found
end

-- Let others be looked at first, also those that end just now: it is not to count among
-- these.
local function postpone(opened, one)
  local from = one.at % FOREVER >= OWN and OWN or 0
  local ttl = one.at < FOREVER and settle.retention(opened, one.state) or FOREVER
  redis.call("ZADD", keys.ended(one.state),
    string.format("%d", from + opened.stamp + ttl + LATER), one.id)
end

-- Forget at most `count` ended tasks for lack of room; returns how many, or `count` if
-- there is more to do. Those that others need stay.
local function over(opened, count)
  local excess, forgotten, released = weight.excess(), 0, 0
  if excess <= 0 then
    return 0
  end
  for _, one in ipairs(oldest(count)) do
    local needed, marks = is_needed(one.id)
    if needed then
      postpone(opened, one)
    else
      local took, some = leave(opened, one.id, one.state, marks)
      released = released + some
      excess = excess - (took or 0)
      forgotten = forgotten + (took and 1 or 0)
    end
    if released >= MOST_RELEASED then
      return count
    elseif excess <= 0 or forgotten >= count then
      break
    end
  end
  return forgotten
end

-- Forget these ended tasks on the sheet. Returns the others, as keys.
local function all_folded(opened, ended)
  local others = {}
  for _, state in ipairs(states.ended()) do
    local ids = {}
    for _, one in ipairs(ended) do
      ids[#ids + 1] = one.state == state and one.id or nil
    end
    for _, id in ipairs((folded(opened, ids, state))) do
      others[id] = true
    end
  end
  return others
end

-- Forget these ended tasks, except those that others need, leaving a tombstone for each.
-- Returns how many were forgotten, and how many are left because these need very many
-- others: they go with further calls.
local function purged(opened, ended)
  local gone, released, left = {}, 0, 0
  local others = all_folded(opened, ended)
  for _, one in ipairs(ended) do
    local needed, marks, took, some = false, "", not others[one.id], 0
    if not took then
      needed, marks = is_needed(one.id)
    end
    if not took and not needed then
      if released < MOST_RELEASED then
        took, some = leave(opened, one.id, one.state, marks)
      end
      released, left = released + some, left + (took and 0 or 1)
    end
    gone[#gone + 1] = took and one or nil
  end
  require("lib.tombs").add(opened, gone)
  return #gone, left
end

return {
  is_needed = is_needed,
  task = task,
  expired = expired,
  over = over,
  purged = purged,
}
