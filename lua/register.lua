-- register: an engine joins.
--
-- KEYS     root
-- ARGV     now engine worker queues (name value)*
-- RETURNS  {"ok", id, lease, drained}
-- MOVES    -
-- ERRORS   NOHUB SCHEMA SCHEME NOW BADARG NAMETAKEN
-- COST     O(queues); for a new worker also O(engines with an expired lease)
--
-- `queues` are separated by commas. The pairs describe the worker (host, boot, pid,
-- begun, python, version, clock); `boot`, `pid` and `begun` identify a worker process,
-- and a second one under a name whose lease is valid is refused. The id is a label for
-- people, counted from 0 and never reused. `drained`, in contrast, is about the engine:
-- it gets no tasks yet, like those of a drained worker, and `drained` is 1.

local engines = require("lib.engines")
local hub = require("lib.hub")
local keys = require("lib.keys")
local reply = require("lib.reply")
local story = require("lib.story")

local ABOUT = {
  host = true, boot = true, pid = true, begun = true, python = true, version = true,
  clock = true, drained = true, labels = true,
}
-- A worker's card outlives it by a day, for whoever asks what became of it.
local CARD = 86400000

local LONGEST = 64
-- How many engines with an expired lease are looked at.
local MOST_OVER = 1000

local uuid, worker, queues = ARGV[2] or "", ARGV[3] or "", ARGV[4] or ""

local function is_name(text, pattern)
  return #text <= LONGEST and string.find(text, pattern)
end

local function check_names()
  if not is_name(uuid, "^[A-Za-z0-9_-]+$") or not is_name(worker, "^[A-Za-z0-9_.-]+$") then
    return reply.fail("BADARG", "not an engine and a worker: " .. uuid .. " " .. worker)
  end
  local seen = {}
  for queue in string.gmatch(queues .. ",", "([^,]*),") do
    if not is_name(queue, "^[a-z0-9][a-z0-9_-]*$") or seen[queue] then
      return reply.fail("BADARG", "not a queue, or one twice: " .. queue)
    end
    seen[queue] = true
  end
end

-- Returns what the pairs say of the worker; or nil and the error reply.
local function read_about()
  local about = {}
  for at = 5, #ARGV, 2 do
    if not ABOUT[ARGV[at]] or not ARGV[at + 1] then
      return nil, reply.fail("BADARG", "workers have no " .. ARGV[at])
    end
    about[ARGV[at]] = ARGV[at + 1]
  end
  return about
end

-- Is another worker process of this name alive?
local function is_taken(opened, about)
  local card = redis.call("HMGET", keys.worker(worker), "boot", "pid", "begun", "engines", "lease")
  if not card[1] or tonumber(card[4] or 0) <= 0 or tonumber(card[5] or 0) <= opened.now then
    return false
  end
  return card[1] ~= about.boot or card[2] ~= about.pid or card[3] ~= about.begun
end

-- Seldom: the worker's card has expired, because its whole machine was off for long. Its
-- former engines may still be there, and count until they are taken apart.
local function left_over(opened)
  local found = 0
  for _, name in ipairs(redis.call("ZRANGEBYSCORE", keys.engines, "-inf", opened.now - 1,
    "LIMIT", 0, MOST_OVER)) do
    if redis.call("HGET", keys.engine(name), "worker") == worker then
      found = found + 1
    end
  end
  return found
end

local function join(opened, about)
  local id = redis.call("HINCRBY", keys.hub, "next_engine", 1) - 1
  if about.clock then
    -- How far its clock is ahead of ours, in ms, transmission included.
    about.offset = string.format("%.0f", (tonumber(about.clock) or opened.stamp) - opened.stamp)
    about.clock = nil
  end
  local drained = about.drained == "1" or redis.call("HEXISTS", keys.worker(worker), "drained") == 1
  about.drained = nil
  local described = {}
  for name, value in pairs(about) do
    described[#described + 1] = name
    described[#described + 1] = value
  end
  -- The most frequently read fields first: a listpack is searched from its beginning.
  redis.call("HSET", keys.engine(uuid), "id", id, "queues", queues, "number", 0,
    "nonce", "", "used", 0, "next", "", "done", 0, "worker", worker, "joined", opened.stamp)
  if drained then
    redis.call("HSET", keys.engine(uuid), "drained", 1, "leaving", engines.DRAINED)
  end
  redis.call("ZADD", keys.engines, opened.now + opened.lease, uuid)
  redis.call("ZADD", keys.labels, id, uuid)
  for queue in string.gmatch(queues, "[^,]+") do
    redis.call("HINCRBY", keys.queues, queue, 1)
  end
  local card = keys.worker(worker)
  local others = redis.call("EXISTS", card) == 0 and left_over(opened) or 0
  redis.call("HINCRBY", card, "engines", 1 + others)
  redis.call("HSET", card, "lease", opened.now + opened.lease, unpack(described))
  redis.call("PEXPIRE", card, CARD)
  story.tell(opened, "engine joined", "engine", uuid, "id", id, "worker", worker)
  return { "ok", id, opened.lease, drained and 1 or 0 }
end

local function main(opened)
  hub.read_clock(opened)
  local about, refused = read_about()
  refused = refused or check_names()
  if refused then
    return refused
  end
  if is_taken(opened, about) then
    return reply.fail("NAMETAKEN", "a worker named " .. worker .. " is alive")
  end
  local known = engines.find(uuid)
  if known then
    local drained = redis.call("HEXISTS", keys.engine(uuid), "drained")
    return { "ok", tonumber(known.id), opened.lease, drained }
  end

  -- Writes below.
  redis.call("PERSIST", keys.hub)
  return join(opened, about)
end

return hub.run(main)
