-- argument: validate what a caller sent, before anything is done with it.

-- Most digits of a number; doubles are exact up to 2^53.
local LONGEST = 16

-- A whole number from 0 on, or nil. A negative count would walk backwards through ARGV
-- for ever, and a fraction fail in the middle of a script.
local function count(text)
  if text and string.find(text, "^%d+$") and #text <= LONGEST then
    return tonumber(text)
  end
end

-- The longest id, in letters.
local LONGEST_ID = 64

-- Ids are made by clients: nothing else may ever become part of a key.
local function is_id(text)
  return text ~= nil and #text <= LONGEST_ID and string.find(text, "^[a-z0-9]+%-[0-9]+$") ~= nil
end

return {
  LONGEST_ID = LONGEST_ID,
  count = count,
  is_id = is_id,
}
