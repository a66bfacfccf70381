-- flags: what a client may ask for a task, and within which limits.

local argument = require("lib.argument")
local keys = require("lib.keys")

-- As much as a record holds in itself: scripts read flags there.
local LONGEST = 64
-- Lists of ids and of engines may be stored beside the record.
local LONGEST_LIST = 8388608
local LONGEST_TARGETS = 4096
local LONGEST_OPTIONS = 256

local YEAR = 31536000000

local function limits(name)
  if name == "until" or name == "start_at" then
    return 0, 9007199254740991
  elseif name == "ttl" or name == "start_in" then
    return 0, YEAR
  elseif name == "timeout" then
    return 1, YEAR
  elseif name == "retries" then
    return 0, 1000
  elseif name == "priority" then
    return -1000, 1000
  elseif name == "elsewhere" or name == "later" then
    return 1, 1
  end
end

-- Seldom needed.
local function pattern(name)
  if name == "queue" then
    return "^[a-z0-9][a-z0-9_-]*$"
  elseif name == "label" then
    return "^.+$"
  elseif name == "root" or name == "gate" then
    return "^[a-z0-9]+%-[0-9]+$"
  elseif name == "pause" then
    -- Delay in ms, factor, jitter.
    return "^%d+ %d+%.?%d* [01]%.?%d*$"
  elseif name == "opts" then
    return "^[%w_.,]+[%w_., ]*$"
  end
end

-- Seldom needed. What is told `later` is looked at then.
local function is_list(text, later)
  if later then
    return text ~= ""
  end
  for id in string.gmatch(text, "%S+") do
    if not argument.is_id(id) then
      return false
    end
  end
  return text ~= ""
end

-- Engines by their labels. Only labels already given out are valid: an engine that joins
-- does not check whether it was named before.
local function are_targets(text)
  local last = tonumber(string.match(text, "(%d+)$"))
  return require("lib.ranges").is_set(text)
    and last < tonumber(redis.call("HGET", keys.hub, "next_engine") or 0)
end

-- Flags with a form of their own: their longest value, and what parses or checks it.
local function form(name)
  if name == "after" or name == "follow" then
    return LONGEST_LIST, require("lib.depend").parse
  elseif name == "refs" then
    return LONGEST_LIST, is_list
  elseif name == "targets" then
    return LONGEST_TARGETS, are_targets
  end
end

local function wrong_number(name, value, least, most)
  if not string.find(value, "^%-?%d+$") then
    return "flag " .. name .. " cannot be " .. value
  end
  local number = tonumber(value)
  if number < least or number > most then
    return string.format("flag %s must be from %.0f to %.0f", name, least, most)
  end
end

-- Returns the sentence for an invalid flag; else nil, and what was read of it. Members of
-- sets may be told `later`.
local function wrong(name, value, later)
  local longest, is_right = form(name)
  longest = longest or (name == "opts" and LONGEST_OPTIONS) or LONGEST
  if #value > longest then
    return "flag " .. name .. " has more than " .. longest .. " bytes"
  end
  local least, most = limits(name)
  if least then
    return wrong_number(name, value, least, most)
  end
  local shape = pattern(name)
  if not shape and not is_right then
    return "no such flag: " .. name
  end
  local read = is_right and is_right(value, later) or shape and string.find(value, shape)
  if not read then
    return "flag " .. name .. " cannot be " .. string.sub(value, 1, LONGEST)
  end
  return nil, read
end

return {
  wrong = wrong,
}
