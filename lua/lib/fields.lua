-- fields: what an outcome adds to its task's record.
--
-- An outcome says where in ARGV its pairs of field and value are (`at`, `count`), or has
-- the only one itself (`text`).

local record = require("lib.record")

-- Longer values are stored beside the record.
local COMPACT = 64

-- Append the record fields that an outcome brings to those given. Output may be long; the
-- others are for a line on a screen. Empty ones are left out, since an empty field says
-- that the value is stored beside the record. What is stored there adds to the outcome's
-- weight, `bytes`.
local function add(outcome, fields)
  for at = outcome.at, outcome.at + 2 * outcome.count - 1, 2 do
    local name, value = ARGV[at], ARGV[at + 1]
    local filled = value ~= ""
    if name == "stdout" or name == "stderr" then
      if #value > COMPACT then
        outcome.bytes = (outcome.bytes or 0) + #value
      end
      value = record.fit(outcome.id, name, value)
    else
      value = string.sub(value, 1, COMPACT)
    end
    if filled then
      fields[#fields + 1], fields[#fields + 2] = name, value
    end
  end
  if outcome.text then
    fields[#fields + 1], fields[#fields + 2] = "repr", string.sub(outcome.text, 1, COMPACT)
  end
  return fields
end

-- The value of one of them; nil if there is none.
local function get(outcome, name)
  for at = outcome.at, outcome.at + 2 * outcome.count - 1, 2 do
    if ARGV[at] == name then
      return ARGV[at + 1]
    end
  end
end

-- When the outcomes of this script were heard, by the server's clock, in ms with a
-- fraction: in whole ms, short tasks would begin before those they depend on have ended.
-- Its engine says how long before that a task began, and how long it ran.
local function heard(opened)
  local text = opened.heard
  if not text then
    text = string.format("%.3f", opened.stamp + opened.fine)
    opened.heard = text
  end
  return text
end

-- Seldom: when the task began.
local function began(opened, ago)
  return string.format("%.3f", opened.stamp + opened.fine - ago / 1000)
end

return {
  add = add,
  get = get,
  heard = heard,
  began = began,
}
