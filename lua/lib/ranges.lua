-- ranges: sets of small whole numbers as text, "0-2,5": engine labels in records.
--
-- Canonical: ascending, neighbours joined, so equal sets are equal texts. Only `numbers`
-- walks a range number by number.

-- Flat list of the least and greatest of each range; nil if the text is not a set.
local function parse(text)
  local bounds, last = {}, -1
  for part in string.gmatch(text .. ",", "([^,]*),") do
    local low, high = string.match(part, "^(%d+)%-?(%d*)$")
    low = tonumber(low)
    high = high == "" and low or tonumber(high)
    if not low or low <= last or high < low or high > 4503599627370496 then
      return nil
    end
    bounds[#bounds + 1], bounds[#bounds + 2] = low, high
    last = high
  end
  return bounds
end

local function write(bounds)
  local parts = {}
  for at = 1, #bounds, 2 do
    local low, high = bounds[at], bounds[at + 1]
    parts[#parts + 1] = string.format(low == high and "%d" or "%d-%d", low, high)
  end
  return table.concat(parts, ",")
end

local function is_set(text)
  return text ~= "" and parse(text) ~= nil
end

local function has(text, number)
  for low, high in string.gmatch(text, "(%d+)%-?(%d*)") do
    low = tonumber(low)
    if number < low then
      return false
    elseif number <= (tonumber(high) or low) then
      return true
    end
  end
  return false
end

-- Union of two sets.
local function either(text, other)
  if text == "" or other == "" then
    return text .. other
  end
  local one, two, joined = parse(text), parse(other), {}
  local at, to = 1, 1
  while at < #one or to < #two do
    local from, place = one, at
    if at > #one or (to < #two and two[to] < one[at]) then
      from, place, to = two, to, to + 2
    else
      at = at + 2
    end
    local last = #joined
    if last > 0 and joined[last] + 1 >= from[place] then
      joined[last] = math.max(joined[last], from[place + 1])
    else
      joined[last + 1], joined[last + 2] = from[place], from[place + 1]
    end
  end
  return write(joined)
end

-- The set with one more number.
local function with(text, number)
  return has(text, number) and text or either(text, string.format("%d", number))
end

-- The first set without the second.
local function minus(text, other)
  if text == "" or other == "" then
    return text
  end
  local left, from, away = {}, parse(text), parse(other)
  for at = 1, #from, 2 do
    local low, high = from[at], from[at + 1]
    for gap = 1, #away, 2 do
      if away[gap + 1] >= low and away[gap] <= high then
        if away[gap] > low then
          left[#left + 1], left[#left + 2] = low, away[gap] - 1
        end
        low = away[gap + 1] + 1
      end
    end
    if low <= high then
      left[#left + 1], left[#left + 2] = low, high
    end
  end
  return write(left)
end

-- Intersection of two sets.
local function both(text, other)
  return minus(text, minus(text, other))
end

-- Size of a set.
local function count(text)
  local sum = 0
  for low, high in string.gmatch(text, "(%d+)%-?(%d*)") do
    sum = sum + 1 + (tonumber(high) or low) - low
  end
  return sum
end

-- At most `most` of the numbers for which `keep(number)` is true, as a list.
local function numbers(text, keep, most)
  local found = {}
  for low, high in string.gmatch(text, "(%d+)%-?(%d*)") do
    for number = tonumber(low), tonumber(high) or tonumber(low) do
      if not keep or keep(number) then
        found[#found + 1] = number
        if #found >= most then
          return found
        end
      end
    end
  end
  return found
end

return {
  is_set = is_set,
  has = has,
  either = either,
  with = with,
  minus = minus,
  both = both,
  count = count,
  numbers = numbers,
}
