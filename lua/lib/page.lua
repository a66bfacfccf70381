-- page: shared by reads that show a part of many things.
--
-- Such reads are repeated every second or two, so each looks at a bounded number of
-- things, however many there are, and says where the next would continue.

local argument = require("lib.argument")
local keys = require("lib.keys")

-- Most rows of anything shown, and most things searched for a text.
local MOST = 200

-- The number of rows requested; nil if it is invalid.
local function count(text)
  local number = argument.count(text or "")
  return number and number >= 1 and number <= MOST and number or nil
end

-- Does one of the values, an array with holes, contain the text? Case does not matter.
local function has(text, values, length)
  if text == "" then
    return true
  end
  for at = 1, length do
    if values[at] and string.find(string.lower(values[at]), text, 1, true) then
      return true
    end
  end
  return false
end

-- The name of a record's function; `names` caches those already read.
local function function_of(names, fn)
  local digest = fn and string.match(fn, "^%S+")
  if not digest then
    return ""
  end
  local name = names[digest]
  if not name then
    name = redis.call("HGET", keys.fn(digest), "name") or ""
    names[digest] = name
  end
  return name
end

return {
  MOST = MOST,
  count = count,
  has = has,
  function_of = function_of,
}
