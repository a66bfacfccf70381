-- argument: read what a caller sent, before anything is done with it.

-- Digits of numbers that doubles have exactly, all of them.
local LONGEST = 16

-- A whole number from 0 on, or nil. A negative count would walk backwards
-- through ARGV for ever, and a fraction is an error half way through a script.
local function count(text)
  if text and string.find(text, "^%d+$") and #text <= LONGEST then
    return tonumber(text)
  end
end

-- Ids are made by clients: nothing else may ever become part of a key.
local function is_id(text)
  return text ~= nil and #text <= 64 and string.find(text, "^[a-z0-9]+%-[0-9]+$") ~= nil
end

return {
  count = count,
  is_id = is_id,
}
