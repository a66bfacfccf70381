-- events: a page of the story, the log of what did not go smoothly.
--
-- KEYS     root
-- ARGV     now before count
-- RETURNS  {"ok", rows}
-- MOVES    -
-- ERRORS   NOHUB SCHEMA SCHEME NOW BADARG
-- COST     O(count), of 1 to 200
--
-- Latest first; before the entry with the id `before`, or from the end if that is empty.
-- A row: entry id, number of fields, then name and value of each.

local hub = require("lib.hub")
local keys = require("lib.keys")
local page = require("lib.page")
local reply = require("lib.reply")

local before, count = ARGV[2] or "", page.count(ARGV[3])

local function main()
  if not count or before ~= "" and not string.find(before, "^%d+%-%d+$") then
    return reply.fail("BADARG", "1 to " .. page.MOST .. " events, before one with an id")
  end
  local rows = {}
  local last = before == "" and "+" or "(" .. before
  for _, entry in ipairs(redis.call("XREVRANGE", keys.story, last, "-", "COUNT", count)) do
    local fields = entry[2]
    rows[#rows + 1], rows[#rows + 2] = entry[1], #fields / 2
    for _, value in ipairs(fields) do
      rows[#rows + 1] = value
    end
  end
  return { "ok", rows }
end

return hub.run(main)
