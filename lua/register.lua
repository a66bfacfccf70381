-- register: an engine joins.
--
-- KEYS     root
-- ARGV     now engine worker queues (name value)*
-- RETURNS  {"ok", id, lease}
-- MOVES    -
-- ERRORS   NOHUB SCHEMA SCHEME NOW BADARG NAMETAKEN
-- COST     O(queues)
--
-- `queues` are parted by commas. The pairs describe the worker (host, boot,
-- pid, begun, python, version); `begun` with `boot` and `pid` tells one worker
-- process from every other, and a second one under a name whose lease lives is
-- refused. The id is a label for people, counted from 0 and never used again.

local engines = require("lib.engines")
local hub = require("lib.hub")
local keys = require("lib.keys")
local reply = require("lib.reply")
local story = require("lib.story")

local ABOUT = {
  host = true, boot = true, pid = true, begun = true, python = true, version = true,
}
-- A worker's card outlives it by a day, for whoever asks what became of it.
local CARD = 86400000

local uuid, worker, queues = ARGV[2], ARGV[3], ARGV[4]

local opened, refused = hub.open()
if not opened then
  return refused
end
hub.read_clock(opened)
if not string.find(uuid, "^[A-Za-z0-9_-]+$") or not string.find(worker, "^[A-Za-z0-9_.-]+$") then
  return reply.fail("BADARG", "not an engine and a worker: " .. uuid .. " " .. worker)
end
for queue in string.gmatch(queues .. ",", "([^,]*),") do
  if not string.find(queue, "^[a-z0-9][a-z0-9_-]*$") then
    return reply.fail("BADARG", "not a queue: " .. queue)
  end
end
local about = {}
for at = 5, #ARGV, 2 do
  if not ABOUT[ARGV[at]] or not ARGV[at + 1] then
    return reply.fail("BADARG", "workers have no " .. ARGV[at])
  end
  about[ARGV[at]] = ARGV[at + 1]
end
local card = redis.call("HMGET", keys.worker(worker), "boot", "pid", "begun", "engines", "lease")
local same = card[1] == about.boot and card[2] == about.pid and card[3] == about.begun
if card[1] and not same and tonumber(card[4]) > 0 and tonumber(card[5]) > opened.now then
  return reply.fail("NAMETAKEN", "a worker named " .. worker .. " is alive")
end
local known = engines.find(uuid)
if known then
  return { "ok", tonumber(known.id), opened.lease }
end

-- Writes below.
redis.call("PERSIST", keys.hub)
local id = redis.call("HINCRBY", keys.hub, "next_engine", 1) - 1
local described = {}
for name, value in pairs(about) do
  described[#described + 1] = name
  described[#described + 1] = value
end
redis.call("HSET", keys.engine(uuid), "id", id, "worker", worker, "queues", queues,
  "number", 0, "nonce", "", "used", 0, "joined", opened.stamp)
redis.call("ZADD", keys.engines, opened.now + opened.lease, uuid)
for queue in string.gmatch(queues, "[^,]+") do
  redis.call("HINCRBY", keys.queues, queue, 1)
end
redis.call("HINCRBY", keys.worker(worker), "engines", 1)
redis.call("HSET", keys.worker(worker), "lease", opened.now + opened.lease, unpack(described))
redis.call("PEXPIRE", keys.worker(worker), CARD)
story.tell(opened, "engine joined", "engine", uuid, "id", id, "worker", worker)
return { "ok", id, opened.lease }
