-- say: a supervisor passes on what tasks report while they run.
--
-- KEYS     root
-- ARGV     now (id token n (name value)*n)*
-- RETURNS  {"ok", ("heard" | "stale")*}
-- MOVES    -
-- ERRORS   NOHUB SCHEMA SCHEME NOW BADARG
-- COST     O(tasks)
--
-- Names: `progress`, a fraction and what it is about, kept in the record; `stdout` and
-- `stderr`, a position and what was printed from there on, for listeners only. `stale`:
-- this attempt is not running, or no longer.

local argument = require("lib.argument")
local hub = require("lib.hub")
local keys = require("lib.keys")
local live = require("lib.live")
local record = require("lib.record")
local reply = require("lib.reply")

local NAMES = { progress = 64, stdout = 65536, stderr = 65536 }
local MOST = 500

-- Returns for each task its id, its token and the range of its pairs in ARGV; or nil when
-- malformed.
local function parse()
  local said, at = {}, 2
  while at <= #ARGV do
    local count = argument.count(ARGV[at + 2])
    local last = count and at + 2 + 2 * count
    if not last or last > #ARGV or #said == MOST then
      return nil
    end
    for pair = at + 3, last, 2 do
      local longest = NAMES[ARGV[pair]]
      if not longest or #ARGV[pair + 1] > longest then
        return nil
      end
    end
    said[#said + 1] = { id = ARGV[at], token = ARGV[at + 1], from = at + 3, to = last }
    at = last + 1
  end
  return said
end

local function say(one)
  local f = record.get(one.id, "state", "token", "marks")
  if f[1] ~= "running" or f[2] ~= one.token then
    return "stale"
  end
  local heard = string.find(f[3] or "", "l", 1, true)
  for pair = one.from, one.to, 2 do
    local name, value = ARGV[pair], ARGV[pair + 1]
    if name == "progress" then
      redis.call("HSET", record.key(one.id), name, value)
    end
    if heard then
      live.add(one.id, name, one.token .. " " .. value)
    end
  end
  return "heard"
end

local function main()
  local said = parse()
  if not said then
    return reply.fail("BADARG", "what is said by tasks is not understood")
  end

  -- Writes below. The first is allowed at maxmemory.
  redis.call("PERSIST", keys.hub)
  local answer = { "ok" }
  for _, one in ipairs(said) do
    answer[#answer + 1] = say(one)
  end
  return answer
end

return hub.run(main)
