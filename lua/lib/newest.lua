-- newest: the greatest number that a client has given a task of many.
--
-- Ids end with a number, and those of tasks submitted with many others have it behind a
-- zero: "client-017". Whoever makes a record with such an id notes its number here. So
-- while R:newest:<client> is there, tasks with greater numbers are new, and nobody need
-- look for each. It expires a day after the last: then tasks are looked for. Those that
-- are sent again always are.

local keys = require("lib.keys")

-- How long it is remembered, in s.
local KEPT = "86400"

-- The client and the number in such an id, as texts; nil for any other.
local function parts(id)
  return string.match(id, "^([a-z0-9]+)%-0([0-9]+)$")
end

-- The number last noted, or nil.
local function read(client)
  return tonumber(redis.call("GET", keys.newest(client)) or nil)
end

-- Note a greater one. As text: a number with many digits would be rounded.
local function note(client, digits)
  redis.call("SET", keys.newest(client), digits, "EX", KEPT)
end

-- Seldom: note ids in any order, of any clients, as far as they are greater.
local function note_all(ids)
  local most = {}
  for _, id in ipairs(ids) do
    local client, digits = parts(id)
    local before = client and (most[client] or "-1")
    if client and tonumber(digits) > tonumber(before) then
      most[client] = digits
    end
  end
  for client, digits in pairs(most) do
    if tonumber(digits) > (read(client) or -1) then
      note(client, digits)
    end
  end
end

return {
  parts = parts,
  read = read,
  note = note,
  note_all = note_all,
}
