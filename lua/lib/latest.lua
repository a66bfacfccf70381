-- latest: ended tasks of a state, the latest first.
--
-- Their index is by when they are forgotten (lib/settle.lua). Those with the common
-- retention are in the order in which they ended, from the score on that one which ends
-- now would have; R:latest:<state> has those with their own. Behind both come those above
-- that score, and those in the other part: another retention was the common one then.

local keys = require("lib.keys")
local settle = require("lib.settle")

local FOREVER, OWN = settle.FOREVER, settle.OWN

-- A score, for commands.
local function text(score)
  return string.format("%.0f", score)
end

-- What the common retention adds to the time of an end in this state.
local function base_of(opened, state)
  local ttl = settle.retention(opened, state)
  return ttl > 0 and ttl or FOREVER
end

-- How many of the state ended after `from` and until `to`: with the common retention, and
-- with their own.
local function between(state, base, from, to)
  return redis.call("ZCOUNT", keys.ended(state), "(" .. text(base + from), text(base + to)),
    redis.call("ZCOUNT", keys.latest(state), "(" .. text(from), text(to))
end

-- What lies between two scores, to be read from its end.
local function part(key, low, high, base)
  return {
    key = key, skipped = redis.call("ZCOUNT", key, "(" .. high, "+inf"),
    size = redis.call("ZCOUNT", key, low, high), base = base,
  }
end

local function parts_of(opened, state)
  local base, key = base_of(opened, state), keys.ended(state)
  local floor = base < FOREVER and 0 or FOREVER
  local top, other = base + opened.stamp, FOREVER - floor
  return {
    part(key, text(floor), text(top), base),
    part(keys.latest(state), "-inf", "+inf", 0),
    part(key, text(top + 1), text(floor + OWN - 1), base),
    part(key, text(other), text(other + OWN - 1), 0),
  }
end

-- Flat id and score of at most `count`, from number `rank` of a part on.
local function read(one, rank, count)
  local last = math.min(one.size, rank + count) - 1
  if last < rank then
    return {}
  end
  return redis.call("ZREVRANGE", one.key, one.skipped + rank, one.skipped + last, "WITHSCORES")
end

-- Begin to read a state. `ranks`, how many of each part are skipped, may be from a place
-- that an entry named.
local function open(opened, state, ranks)
  return { parts = parts_of(opened, state), ranks = { unpack(ranks or { 0, 0, 0, 0 }) } }
end

-- Take the next of a part, whose entries these are.
local function take(reader, list, number, entries, at)
  list[#list + 1] = { id = entries[at], at = table.concat(reader.ranks, " ") }
  reader.ranks[number] = reader.ranks[number] + 1
end

-- Is the entry here the later one? There is none behind the last.
local function is_later(reader, plain, at, own, other)
  return not own[other]
    or plain[at] and plain[at + 1] - reader.parts[1].base >= tonumber(own[other + 1])
end

-- The next at most `count`: id, and `at`, its place. Fewer: these were the last.
local function next_of(reader, count)
  local parts, ranks, list = reader.parts, reader.ranks, {}
  local plain, own = read(parts[1], ranks[1], count), read(parts[2], ranks[2], count)
  local at, other = 1, 1
  while #list < count and (plain[at] or own[other]) do
    if is_later(reader, plain, at, own, other) then
      take(reader, list, 1, plain, at)
      at = at + 2
    else
      take(reader, list, 2, own, other)
      other = other + 2
    end
  end
  for number = 3, 4 do
    local entries = read(parts[number], ranks[number], count - #list)
    for place = 1, #entries, 2 do
      take(reader, list, number, entries, place)
    end
  end
  return list
end

return {
  base = base_of,
  between = between,
  open = open,
  next = next_of,
}
