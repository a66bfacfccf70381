-- lots: tasks on the sheet that an engine took in one turn, as one text.
--
-- Tasks in bulk are taken, run and reported together, so what an engine holds of those
-- that it took at once is one text: R:engine:<uuid>:lots has for the token of that turn
-- how many there are, their run (lib/sheet.lua), a line break, and their ids in order.
-- They are reported from the first one on. As soon as there is anything else to say of
-- one, each gets an entry of its own (lib/held.lua), which is the same run.

local batches = require("lib.batches")
local keys = require("lib.keys")

local SPACE = 32
local HEAD = "^(%d+) ([^\n]*)\n()"

-- What this script has parsed, by engine.
local parsed = {}

local function key_of(uuid)
  return keys.engine(uuid, "lots")
end

-- Seldom: the text of a lot.
local function text_of(count, run, ids)
  return count .. " " .. run .. "\n" .. ids
end

-- Seldom: add a lot. Returns whether there was none under this token.
local function add(uuid, token, run, ids)
  parsed[uuid] = nil
  return redis.call("HSETNX", key_of(uuid), token,
    text_of(#ids, run, table.concat(ids, " "))) == 1
end

-- Are there so many ids in this text?
local function has_count(text, count)
  local _, spaces = string.gsub(text, " ", "")
  return spaces == count - 1
end

-- Seldom: what is left of a lot without these ids, "" if nothing is; nil if they are not
-- its first.
local function without(uuid, token, ids)
  local text = redis.call("HGET", key_of(uuid), token)
  local count, run, from = string.match(text or "", HEAD)
  if not from then
    return nil
  end
  local joined, left = table.concat(ids, " "), count - #ids
  local last = from + #joined - 1
  if string.find(text, joined, from, true) ~= from then
    return nil
  elseif last == #text then
    return left == 0 and "" or nil
  elseif string.byte(text, last + 1) == SPACE and has_count(joined, #ids) then
    return text_of(left, run, string.sub(text, last + 2))
  end
end

-- Seldom: set what is left of a lot.
local function set(uuid, token, rest)
  parsed[uuid] = nil
  if rest == "" then
    redis.call("HDEL", key_of(uuid), token)
  else
    redis.call("HSET", key_of(uuid), token, rest)
  end
end

-- Seldom: has the engine any?
local function are_there(uuid)
  return redis.call("EXISTS", key_of(uuid)) == 1
end

-- Seldom: the entry of each, flat: id, entry, id, entry ... Also returns them by id.
local function entries(uuid)
  local one = parsed[uuid]
  if not one then
    local flat, by_id, at = {}, {}, 0
    for _, text in ipairs(redis.call("HVALS", key_of(uuid))) do
      local _, run, from = string.match(text, HEAD)
      for id in string.gmatch(from and string.sub(text, from) or "", "%S+") do
        flat[at + 1], flat[at + 2], by_id[id] = id, run, run
        at = at + 2
      end
    end
    one = { flat = flat, by_id = by_id }
    parsed[uuid] = one
  end
  return one.flat, one.by_id
end

-- Seldom: add the entries that are missing from `found` for these ids.
local function fill(uuid, ids, found)
  local _, by_id = entries(uuid)
  for number, id in ipairs(ids) do
    found[number] = found[number] or by_id[id] or false
  end
end

-- Seldom: can all be read? Only somebody's hand damages one.
local function are_right(uuid)
  for _, text in ipairs(redis.call("HVALS", key_of(uuid))) do
    if not string.find(text, HEAD) then
      return false
    end
  end
  return true
end

-- Seldom: how many tasks are in them.
local function count_of(uuid)
  local sum = 0
  for _, text in ipairs(redis.call("HVALS", key_of(uuid))) do
    sum = sum + (string.match(text, HEAD) or 0)
  end
  return sum
end

-- Seldom: give each task an entry of its own, in the hash `held`.
local function open(uuid, held)
  local flat = entries(uuid)
  parsed[uuid] = nil
  batches.hset(held, flat)
  redis.call("UNLINK", key_of(uuid))
end

return {
  add = add,
  without = without,
  set = set,
  are_there = are_there,
  entries = entries,
  fill = fill,
  are_right = are_right,
  count = count_of,
  open = open,
}
