-- held: what an engine has taken, and the fencing token of each task.
--
-- A hash of the engine: for each id its token, its score in a line, "a" if the task was
-- taken along with what it waits for (lib/along.lua) and, if its record has marks, "+"; or
-- for a task on the sheet its run (lib/sheet.lua), which has "=" in place of the score and
-- at the end. So all that an engine reports is checked with one read, and records are not
-- asked for what they mostly do not have.

local batches = require("lib.batches")
local keys = require("lib.keys")

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
  if not ids[2] then
    return { redis.call("HGET", key_of(uuid), ids[1]) }
  end
  return batches.hmget(key_of(uuid), ids)
end

-- `entries` is flat: id, entry, id, entry ...
local function add(uuid, entries)
  batches.hset(key_of(uuid), entries)
end

-- Returns how many there were.
local function remove(uuid, ids)
  return batches.each("HDEL", key_of(uuid), ids)
end

-- Seldom: the record of a running task has got marks.
local function mark(name, id)
  local key = key_of(string.match(name, "/(.*)$"))
  local found = redis.call("HGET", key, id)
  if found and not is_marked(found) then
    redis.call("HSET", key, id, found .. " +")
  end
end

-- Seldom: the record of a task has got a hash of its own.
local function unfold(name, id, score)
  local key = key_of(string.match(name, "/(.*)$"))
  local found = redis.call("HGET", key, id)
  if found and is_folded(found) then
    redis.call("HSET", key, id, string.match(found, "^%S+ ") .. score)
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

-- Seldom: some of very many, about `count`: flat id, entry ...; or all whose ids are not
-- among `but`. A page of the scan may be empty: removed entries leave gaps.
local function some(key, count, but)
  local flat, cursor = {}, "0"
  repeat
    local page = redis.call("HSCAN", key, cursor, "COUNT", math.max(count, SMALLEST_PAGE))
    cursor = page[1]
    for at = 1, #page[2], 2 do
      if not (but and but[page[2][at]]) then
        flat[#flat + 1], flat[#flat + 2] = page[2][at], page[2][at + 1]
      end
    end
  until cursor == "0" or #flat >= 2 * count
  return flat
end

-- Seldom: at most about `count` that are not among these ids.
local function others(uuid, ids, count)
  return sorted(some(key_of(uuid), count, ids))
end

-- Seldom: at least the first `count` ids, if there are so many.
local function names(uuid, count)
  local key, found = key_of(uuid), {}
  if redis.call("HLEN", key) <= MOST_SORTED then
    found = redis.call("HKEYS", key)
    table.sort(found)
    return found
  end
  local flat = some(key, count)
  for at = 1, #flat, 2 do
    found[#found + 1] = flat[at]
  end
  return found
end

-- How many there are.
local function count_of(uuid)
  return redis.call("HLEN", key_of(uuid))
end

-- Seldom: id, token and score of each, and whether it was taken along, in order; of very
-- many about `count`, in any.
local function list(uuid, count)
  local key = key_of(uuid)
  if count and redis.call("HLEN", key) > MOST_SORTED then
    return sorted(some(key, count))
  end
  return sorted(redis.call("HGETALL", key))
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
  remove = remove,
  mark = mark,
  unfold = unfold,
  others = others,
  count = count_of,
  first = first,
  last = last,
  names = names,
}
