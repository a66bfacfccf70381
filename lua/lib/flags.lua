-- flags: what a client may say of a task, and within which limits.

-- Shorter than what a record keeps in itself: scripts read flags from there.
local LONGEST = 64

local function limits(name)
  if name == "until" then
    return 0, 9007199254740991
  elseif name == "ttl" then
    return 0, 31536000000
  elseif name == "retries" then
    return 0, 1000
  elseif name == "priority" then
    return -1000, 1000
  end
end

local function pattern(name)
  if name == "queue" then
    return "^[a-z0-9][a-z0-9_-]*$"
  elseif name == "label" then
    return "^.+$"
  elseif name == "root" then
    return "^[a-z0-9]+%-[0-9]+$"
  end
end

-- The sentence for a flag that cannot be; nil when it can.
local function wrong(name, value)
  if #value > LONGEST then
    return "flag " .. name .. " has more than " .. LONGEST .. " bytes"
  end
  local least, most = limits(name)
  if least then
    if not string.find(value, "^%-?%d+$") then
      return "flag " .. name .. " cannot be " .. value
    end
    local number = tonumber(value)
    if number < least or number > most then
      return string.format("flag %s must be from %.0f to %.0f", name, least, most)
    end
    return nil
  end
  local form = pattern(name)
  if not form then
    return "no such flag: " .. name
  end
  if not string.find(value, form) then
    return "flag " .. name .. " cannot be " .. value
  end
end

return {
  wrong = wrong,
}
