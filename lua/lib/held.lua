-- held: what an engine has taken, and what fences each task.
--
-- A hash of the engine: of each id its token, its score in a line and, when its record
-- has marks, "+". So what an engine reports is compared with one read for all of it,
-- and the record is not asked for what it mostly has not got.

local batches = require("lib.batches")
local keys = require("lib.keys")

-- With more than this the order is given up, so that no script reads very many.
local MOST_SORTED = 1000
local PLUS = 43

local function key_of(uuid)
  return keys.engine(uuid, "held")
end

-- What stands there of a task; `fence` is its token and a space.
local function entry(fence, score, marks)
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

-- Seldom: the record of a task that runs has got marks.
local function mark(name, id)
  local key = key_of(string.match(name, "/(.*)$"))
  local found = redis.call("HGET", key, id)
  if found and not is_marked(found) then
    redis.call("HSET", key, id, found .. " +")
  end
end

-- Of flat id, entry, id, entry ... the pairs by their scores.
local function sorted(flat)
  local all = {}
  for at = 1, #flat, 2 do
    local token, score = parts(flat[at + 1])
    all[#all + 1] = { id = flat[at], token = token, score = score }
  end
  table.sort(all, function(one, other)
    return tonumber(one.score) < tonumber(other.score)
  end)
  return all
end

-- Seldom: the first `count` of them, or all: id, token and score of each.
local function first(uuid, count)
  local key = key_of(uuid)
  if count and redis.call("HLEN", key) > MOST_SORTED then
    return sorted(redis.call("HSCAN", key, 0, "COUNT", count)[2])
  end
  local all = sorted(redis.call("HGETALL", key))
  for at = #all, (count or #all) + 1, -1 do
    all[at] = nil
  end
  return all
end

return {
  entry = entry,
  parts = parts,
  is_marked = is_marked,
  read = read,
  add = add,
  remove = remove,
  mark = mark,
  first = first,
}
