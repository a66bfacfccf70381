-- settings: what can be set on a hub, and within which limits.

local argument = require("lib.argument")

-- Longest text of a user's own scheme.
local LONGEST_TEXT = 65536

-- Least and greatest value of each number. Times in ms, sizes in bytes.
local LIMITS = {
  hwm = { 0, 100000 },
  lease = { 100, 3600000 },
  result_ttl = { 0, 31536000000 },
  failure_ttl = { 0, 31536000000 },
  max_deaths = { 1, 1000 },
  max_payload = { 65536, 536870912 },
  keep_bytes = { 0, 9007199254740991 },
  dice = { 1, 2147483646 },
  testing = { 0, 1 },
}

local function wrong_number(name, text)
  local limits, value = LIMITS[name], argument.count(text)
  if not limits then
    return "no such setting: " .. name
  end
  if not value or value < limits[1] or value > limits[2] then
    return string.format("%s must be a whole number from %.0f to %.0f",
      name, limits[1], limits[2])
  end
end

-- One of redtask's has just a name; a user's own also has a digest, a text and a
-- signature.
local function wrong_scheme(scheme)
  local name = scheme.name or ""
  local own = string.find(name, "^[a-z][a-z0-9_-]*@%x+$") ~= nil
  if #name > 64 or not (own or string.find(name, "^[a-z][a-z0-9_-]*$")) then
    return "scheme cannot be called " .. name
  end
  if own ~= (scheme.text ~= nil) or own ~= (scheme.signature ~= nil) then
    return "scheme " .. name .. " must have a text and a signature if it is one's own"
  end
  if own and #scheme.text > LONGEST_TEXT then
    return "scheme " .. name .. " has more than " .. LONGEST_TEXT .. " bytes"
  end
end

-- Identifies the hub's key.
local function is_fingerprint(value)
  return #value == 16 and not string.find(value, "[^0-9a-f]")
end

-- Read pairs of name and value in ARGV from `at` on. Returns the numbers, flat, and the
-- scheme (name, text, signature; nil if unchanged); or nil and what is wrong, in words.
local function read(at)
  local numbers, scheme = {}, nil
  for offset = at, #ARGV, 2 do
    local name, value = ARGV[offset], ARGV[offset + 1]
    local part = string.match(name, "^scheme_?(%l*)$")
    if part == "" or part == "text" or part == "signature" then
      scheme = scheme or {}
      scheme[part == "" and "name" or part] = value
    elseif name == "fingerprint" and is_fingerprint(value or "") then
      numbers[#numbers + 1], numbers[#numbers + 2] = name, value
    else
      local wrong = wrong_number(name, value)
      if wrong then
        return nil, wrong
      end
      numbers[#numbers + 1] = name
      numbers[#numbers + 1] = string.format("%.0f", tonumber(value))
    end
  end
  local wrong = scheme and wrong_scheme(scheme)
  if wrong then
    return nil, wrong
  end
  return numbers, scheme
end

return {
  read = read,
}
