-- lots: tasks on the sheet that an engine took in one turn, as one text.
--
-- Tasks in bulk are taken, run and reported together, so what an engine holds of those
-- that it took at once is one text: R:engine:<uuid>:lots has for the token of that turn
-- their run (lib/sheet.lua), a line break, and their ids in order. They are reported from
-- the first one on. As soon as there is anything else to say of one, each gets an entry of
-- its own (lib/held.lua), which is the same run.

local batches = require("lib.batches")
local keys = require("lib.keys")

local SPACE = 32

local function key_of(uuid)
  return keys.engine(uuid, "lots")
end

-- Seldom: add a lot.
local function add(uuid, token, run, ids)
  redis.call("HSET", key_of(uuid), token, run .. "\n" .. table.concat(ids, " "))
end

-- Seldom: what is left of a lot without these ids, "" if nothing is; nil if they are not
-- its first.
local function without(uuid, token, ids)
  local text = redis.call("HGET", key_of(uuid), token)
  local from = text and string.find(text, "\n", 1, true)
  local first, last = from, nil
  if from then
    first, last = string.find(text, table.concat(ids, " "), from + 1, true)
  end
  if not last or first ~= from + 1 then
    return nil
  elseif last == #text then
    return ""
  elseif string.byte(text, last + 1) == SPACE then
    return string.sub(text, 1, from) .. string.sub(text, last + 2)
  end
end

-- Seldom: set what is left of a lot.
local function set(uuid, token, rest)
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

-- Seldom: the entry of each, flat: id, entry, id, entry ...
local function entries(uuid)
  local flat, at = {}, 0
  for _, text in ipairs(redis.call("HVALS", key_of(uuid))) do
    local run, ids = string.match(text, "^([^\n]*)\n(.*)$")
    for id in string.gmatch(ids or "", "%S+") do
      flat[at + 1], flat[at + 2] = id, run
      at = at + 2
    end
  end
  return flat
end

-- Seldom: the ids.
local function ids_of(uuid)
  local ids, flat = {}, entries(uuid)
  for at = 1, #flat, 2 do
    ids[#ids + 1] = flat[at]
  end
  return ids
end

-- Seldom: add the entries that are missing from `found` for these ids.
local function fill(uuid, ids, found)
  local known, flat = {}, entries(uuid)
  for at = 1, #flat, 2 do
    known[flat[at]] = flat[at + 1]
  end
  for number, id in ipairs(ids) do
    found[number] = found[number] or known[id] or false
  end
end

-- Seldom: how many tasks are in them.
local function count(uuid)
  return #entries(uuid) / 2
end

-- Seldom: give each task an entry of its own, in the hash `held`.
local function open(uuid, held)
  local flat = entries(uuid)
  batches.hset(held, flat)
  redis.call("UNLINK", key_of(uuid))
end

return {
  add = add,
  without = without,
  set = set,
  are_there = are_there,
  entries = entries,
  ids = ids_of,
  fill = fill,
  count = count,
  open = open,
}
