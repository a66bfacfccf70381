-- held: what an engine has taken, and the fencing token of each task.
--
-- A hash of the engine: for each id its token, its score in a line, "a" if the task was
-- taken along with what it waits for (lib/along.lua) and, if its record has marks, "+"; or
-- for a task on the sheet its run (lib/sheet.lua), which has "=" in place of the score and
-- at the end. So all that an engine reports is checked with one read, and records are not
-- asked for what they mostly do not have. Many tasks on the sheet that were taken at once
-- have no entries here, but are a lot (lib/lots.lua); whatever is asked here takes account
-- of these.

local batches = require("lib.batches")
local keys = require("lib.keys")
local lots = require("lib.lots")

-- Beyond this size the order is given up, so that no script reads very many.
local MOST_SORTED = 1000
-- Smallest page when a larger hash is scanned.
local SMALLEST_PAGE = 100
local PLUS, EQUAL = 43, 61
local ALONG = " a"

local function key_of(uuid)
  return keys.engine(uuid, "held")
end

-- The entry of a task; `fence` is its token and a space.
local function entry(fence, score, marks, along)
  if along then
    score = score .. ALONG
  end
  if marks then
    return fence .. score .. " +"
  end
  return fence .. score
end

-- Token and score of an entry.
local function parts(found)
  return string.match(found, "^(%S+) (%S+)")
end

-- May the record have marks?
local function is_marked(found)
  return string.byte(found, -1) == PLUS
end

-- Was it taken along with what it waits for?
local function is_along(found)
  return string.find(found, ALONG, 1, true) ~= nil
end

-- Is its record on the sheet?
local function is_folded(found)
  return string.byte(found, -1) == EQUAL
end

-- Seldom: the score of a task; for one on the sheet, its row has it.
local function score_of(id, found)
  local _, score = parts(found)
  if score == "=" then
    score = string.match(redis.call("HGET", keys.rows, id) or "0", "^%S+")
  end
  return score
end

-- The entries of these ids, in order; false where there is none.
local function read(uuid, ids)
  local found
  if ids[2] then
    found = batches.hmget(key_of(uuid), ids)
  else
    found = { redis.call("HGET", key_of(uuid), ids[1]) }
  end
  for number = 1, #ids do
    if not found[number] then
      if lots.are_there(uuid) then
        lots.fill(uuid, ids, found)
      end
      break
    end
  end
  return found
end

-- `entries` is flat: id, entry, id, entry ...
local function add(uuid, entries)
  batches.hset(key_of(uuid), entries)
end

-- Seldom: give all that are in lots entries. Returns whether there are any.
local function open(uuid)
  local found = lots.are_there(uuid)
  if found then
    lots.open(uuid, key_of(uuid))
  end
  return found
end

-- Returns how many there were.
local function remove(uuid, ids)
  local removed = batches.each("HDEL", key_of(uuid), ids)
  if removed < #ids and open(uuid) then
    removed = removed + batches.each("HDEL", key_of(uuid), ids)
  end
  return removed
end

-- Seldom: does the engine hold this one?
local function has(uuid, id)
  return redis.call("HEXISTS", key_of(uuid), id) == 1
    or lots.are_there(uuid) and read(uuid, { id })[1] ~= false
end

-- Seldom: does it hold none?
local function is_empty(uuid)
  return redis.call("EXISTS", key_of(uuid), keys.engine(uuid, "lots")) == 0
end

-- Seldom: one's entry, to be changed.
local function own(uuid, id)
  local found = redis.call("HGET", key_of(uuid), id)
  if not found and open(uuid) then
    return redis.call("HGET", key_of(uuid), id)
  end
  return found
end

-- Seldom: the record of a running task has got marks.
local function mark(name, id)
  local uuid = string.match(name, "/(.*)$")
  local found = own(uuid, id)
  if found and not is_marked(found) then
    redis.call("HSET", key_of(uuid), id, found .. " +")
  end
end

-- Seldom: the record of a task has got a hash of its own.
local function unfold(name, id, score)
  local uuid = string.match(name, "/(.*)$")
  local found = own(uuid, id)
  if found and is_folded(found) then
    redis.call("HSET", key_of(uuid), id, string.match(found, "^%S+ ") .. score)
  end
end

-- Parse flat id, entry, id, entry ... into a list sorted by score.
local function sorted(flat)
  local all, folded = {}, {}
  for at = 1, #flat, 2 do
    local token, score = parts(flat[at + 1])
    all[#all + 1] = {
      id = flat[at], token = token, score = score, along = is_along(flat[at + 1]),
    }
    if score == "=" then
      folded[#folded + 1] = flat[at]
    end
  end
  if #folded > 0 then
    local rows, number = batches.hmget(keys.rows, folded), 0
    for _, one in ipairs(all) do
      if one.score == "=" then
        number = number + 1
        one.score = string.match(rows[number] or "0", "^%S+")
      end
    end
  end
  table.sort(all, function(one, other)
    return tonumber(one.score) < tonumber(other.score)
  end)
  return all
end

-- Seldom: append to `flat` what is in `more`, at most up to `length`, but for the ids
-- among `but`.
local function append(flat, more, length, but)
  for at = 1, #more, 2 do
    if #flat >= length then
      break
    elseif not (but and but[more[at]]) then
      flat[#flat + 1], flat[#flat + 2] = more[at], more[at + 1]
    end
  end
end

-- Seldom: some of very many, about `count`: flat id, entry ...; or all whose ids are not
-- among `but`. A page of the scan may be empty: removed entries leave gaps.
local function some(uuid, count, but)
  local flat, cursor = {}, "0"
  append(flat, lots.entries(uuid), 2 * count, but)
  while #flat < 2 * count do
    local page = redis.call("HSCAN", key_of(uuid), cursor, "COUNT",
      math.max(count, SMALLEST_PAGE))
    cursor = page[1]
    append(flat, page[2], math.huge, but)
    if cursor == "0" then
      break
    end
  end
  return flat
end

-- Seldom: how many there are.
local function count_of(uuid)
  local count = redis.call("HLEN", key_of(uuid))
  return lots.are_there(uuid) and count + lots.count(uuid) or count
end

-- Seldom: at most about `count` that are not among these ids.
local function others(uuid, ids, count)
  return sorted(some(uuid, count, ids))
end

-- Seldom: at least the first `count` ids, if there are so many.
local function names(uuid, count)
  local found = {}
  if count_of(uuid) <= MOST_SORTED then
    found = redis.call("HKEYS", key_of(uuid))
    local flat = lots.entries(uuid)
    for at = 1, #flat, 2 do
      found[#found + 1] = flat[at]
    end
    table.sort(found)
    return found
  end
  local flat = some(uuid, count)
  for at = 1, #flat, 2 do
    found[#found + 1] = flat[at]
  end
  return found
end

-- Seldom: id, token and score of each, and whether it was taken along, in order; of very
-- many about `count`, in any.
local function list(uuid, count)
  if count and count_of(uuid) > MOST_SORTED then
    return sorted(some(uuid, count))
  end
  local flat = redis.call("HGETALL", key_of(uuid))
  append(flat, lots.entries(uuid), math.huge)
  return sorted(flat)
end

-- Seldom: the first `count` of them, or all.
local function first(uuid, count)
  local all = list(uuid, count)
  for at = #all, (count or #all) + 1, -1 do
    all[at] = nil
  end
  return all
end

-- Seldom: the last `count` of them: what was taken along comes behind what it waits for.
local function last(uuid, count)
  local all = list(uuid, count)
  for _ = count + 1, #all do
    table.remove(all, 1)
  end
  return all
end

return {
  entry = entry,
  parts = parts,
  is_marked = is_marked,
  is_along = is_along,
  is_folded = is_folded,
  score = score_of,
  read = read,
  add = add,
  open = open,
  remove = remove,
  has = has,
  is_empty = is_empty,
  mark = mark,
  unfold = unfold,
  others = others,
  count = count_of,
  first = first,
  last = last,
  names = names,
}
