-- pause: keep tasks of these queues from starting, or resume the queues.
--
-- KEYS     root
-- ARGV     now verb (queue)*
-- RETURNS  {"ok", ("paused" | "resumed")*}
-- MOVES    -
-- ERRORS   NOHUB SCHEMA SCHEME NOW BADARG
-- COST     O(queues); of a resumed one also O(its engines), at most 1,000
--
-- Verbs: `pause` and `resume`. One word per queue, in order: its new state. Tasks still
-- enter a paused queue and wait in its line. An engine may begin what it has taken; what
-- was only placed on it returns to the line when the engine comes for it. A queue can be
-- paused before it exists.

local engines = require("lib.engines")
local hub = require("lib.hub")
local keys = require("lib.keys")
local rare = require("lib.rare")
local reply = require("lib.reply")
local story = require("lib.story")
local strays = require("lib.strays")
local take = require("lib.take")

-- Index of the first queue in ARGV.
local QUEUES = 3
local MOST = 1000

local verb = ARGV[2]

local function refuse()
  if (verb ~= "pause" and verb ~= "resume") or #ARGV - QUEUES + 1 > MOST then
    return reply.fail("BADARG", "pause or resume, at most " .. MOST .. " queues")
  end
  for at = QUEUES, #ARGV do
    if #ARGV[at] > 64 or not string.find(ARGV[at], "^[a-z0-9][a-z0-9_-]*$") then
      return reply.fail("BADARG", "not a queue: " .. string.sub(ARGV[at], 1, 64))
    end
  end
  if verb == "pause" and redis.call("SCARD", keys.paused) + #ARGV - QUEUES + 1 > MOST then
    return reply.fail("BADARG", "no more than " .. MOST .. " queues can be paused")
  end
end

local function pause(opened, queue)
  if redis.call("SADD", keys.paused, queue) == 1 then
    story.tell(opened, "queue paused", "queue", queue)
  end
end

-- Returns whether it was paused.
local function resume(opened, queue)
  local was = redis.call("SREM", keys.paused, queue) == 1
  if was then
    story.tell(opened, "queue resumed", "queue", queue)
  end
  return was
end

-- Ring the engines with room to come for what waits. If there are more than can be rung
-- here, the beat rings the others.
local function call(opened, queue)
  if redis.call("EXISTS", keys.ready(queue)) == 0
    and redis.call("HEXISTS", keys.apart, queue) == 0 then
    return
  end
  for _, uuid in ipairs(redis.call("ZRANGE", keys.free(queue), 0, MOST - 1)) do
    engines.call(opened, engines.find(uuid), take.any)
  end
end

local function main(opened)
  local refused = refuse()
  if refused then
    return refused
  end

  -- Writes below. The first is allowed at maxmemory.
  redis.call("PERSIST", keys.hub)
  local answer, resumed = { "ok" }, {}
  if verb == "pause" and #ARGV >= QUEUES then
    rare.set(opened, "p")
  end
  for at = QUEUES, #ARGV do
    if verb == "pause" then
      pause(opened, ARGV[at])
    elseif resume(opened, ARGV[at]) then
      resumed[#resumed + 1] = ARGV[at]
    end
    answer[#answer + 1] = verb == "pause" and "paused" or "resumed"
  end
  if redis.call("EXISTS", keys.paused) == 0 then
    rare.clear(opened, "p")
  end
  for _, queue in ipairs(resumed) do
    call(opened, queue)
  end
  strays.see_to(opened)
  return answer
end

return hub.run(main)
