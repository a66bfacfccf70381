-- beat: a supervisor says which of its engines live and what they believe they hold; or
-- that one is gone, and what it had begun.
--
-- KEYS     root
-- ARGV     now worker (verb engine number n (id)*n)*
-- RETURNS  {"ok", (engine word n (id)*n)*}
-- MOVES    -
-- ERRORS   NOHUB SCHEMA SCHEME NOW BADARG
-- COST     O(engines + tasks they hold)
--
-- Verbs: `live`, and the ids are what the engine holds after the turn with that number;
-- `gone`, and the ids are what it had begun (number is the reason, in words); `late`,
-- likewise, when it was killed for a time limit; `stopped`, when its worker stops and had
-- to kill it: what has retries goes back, and no attempt is counted. Before any of these
-- three may stand `said`, with a token for the number, then a task and pairs of name and
-- value: its last output (`stdout`, `stderr`, `progress`). Words: `live` or `drained`, and
-- the ids are no longer this engine's; `unknown`, the hub has given it up; `gone`, it is
-- removed; `more`, send it again.

local again = require("lib.again")
local argument = require("lib.argument")
local cascade = require("lib.cascade")
local engines = require("lib.engines")
local held = require("lib.held")
local hold = require("lib.hold")
local hub = require("lib.hub")
local keys = require("lib.keys")
local lose = require("lib.lose")
local report = require("lib.report")
local reply = require("lib.reply")
local settle = require("lib.settle")
local story = require("lib.story")
local take = require("lib.take")

local CARD = 86400000
-- The verdict on what an engine had begun, by verb.
local VERDICTS = {
  live = "", gone = "engine_lost", late = "time_limit", stopped = "engine_lost",
}
-- Most tasks of an engine that are moved by one call.
local MOST = 64
local PRINTED = { stdout = true, stderr = true, progress = true }

-- Seldom: the last output of a dead engine's task; nil when malformed.
local function parse_last(at, count)
  for pair = at + 5, at + 3 + count, 2 do
    if not PRINTED[ARGV[pair]] then
      return nil
    end
  end
  return count % 2 == 1 and {
    id = ARGV[at + 4], token = ARGV[at + 2], at = at + 5, count = (count - 1) / 2,
  }
end

-- Returns the ids as a set, and how many are distinct.
local function read_ids(from, count)
  local ids, distinct = {}, 0
  for at = from, from + count - 1 do
    distinct = ids[ARGV[at]] and distinct or distinct + 1
    ids[ARGV[at]] = true
  end
  return ids, distinct
end

local function parse()
  local said, last, at = {}, nil, 3
  while at <= #ARGV do
    local count, verb = argument.count(ARGV[at + 3]), ARGV[at]
    if not count or at + 3 + count > #ARGV then
      return nil
    elseif verb == "said" then
      last = parse_last(at, count)
    elseif not VERDICTS[verb] or verb == "live" and not argument.count(ARGV[at + 2]) then
      return nil
    else
      local ids, distinct = read_ids(at + 4, count)
      said[#said + 1] = {
        verb = verb, uuid = ARGV[at + 1], number = ARGV[at + 2], ids = ids,
        count = distinct, last = last,
      }
      last = nil
    end
    if verb == "said" and not last then
      return nil
    end
    at = at + 4 + count
  end
  return said
end

local function add(answer, uuid, word, ids)
  answer[#answer + 1] = uuid
  answer[#answer + 1] = word
  answer[#answer + 1] = #ids
  for _, id in ipairs(ids) do
    answer[#answer + 1] = id
  end
end

-- Ids that the engine believes it holds and the hub does not.
local function not_held(uuid, ids)
  local all, foreign = {}, {}
  for id in pairs(ids) do
    all[#all + 1] = id
  end
  if #all > 0 then
    table.sort(all)
    local entries = held.read(uuid, all)
    for number, id in ipairs(all) do
      if not entries[number] then
        foreign[#foreign + 1] = id
      end
    end
  end
  return foreign
end

-- Take back what the hub believes the engine holds and the engine does not know: a reply
-- was lost for good, or Redis lost its latest writes. As far as Redis knows it has not
-- run, so it becomes ready again and no attempt is counted.
local function take_back(opened, engine, ids)
  local uuid, forgotten = engine.uuid, {}
  for _, one in ipairs(held.others(uuid, ids, MOST)) do
    local id = one.id
    forgotten[#forgotten + 1] = {
      id = id, kind = "unbegun", fields = {}, token = one.token, score = one.score,
      marks = redis.call("HGET", keys.task(id), "marks") or nil,
    }
    story.tell(opened, "forgotten", "task", id, "engine", uuid)
  end
  local ending = settle.begin(opened)
  local back = report.apply(opened, ending, engine, forgotten)
  if #forgotten > 0 then
    engines.show(opened, engine)
  end
  again.put_back(opened, ending, back, uuid)
  cascade.run(opened, ending)
  settle.close(ending)
  hold.advance(opened)
end

-- Has the engine not come for what it was rung for? Then the ring was lost.
local function is_awaited(opened, engine, number)
  local load = engines.load_of(engine.uuid)
  return number < engine.number
    or redis.call("ZCARD", keys.engine(engine.uuid, "assigned")) > 0
    or (load == 0 and engine.number > 0 and not engine.leaving and take.any(opened, engine))
end

-- The engine was being taken apart, but turns out to be alive.
local function stay(opened, engine)
  redis.call("ZADD", keys.labels, engine.id, engine.uuid)
  redis.call("ZREM", keys.hidden, engine.uuid)
  if redis.call("HEXISTS", keys.engine(engine.uuid), "drained") == 1 then
    redis.call("HSET", keys.engine(engine.uuid), "leaving", engines.DRAINED)
    engine.leaving = engines.DRAINED
    engines.tell_drained(opened, engine)
    return
  end
  redis.call("HDEL", keys.engine(engine.uuid), "leaving")
  engine.leaving = nil
  if engine.number > 0 then
    engines.show(opened, engine)
  end
end

local function live(opened, engine, said, answer)
  local uuid = engine.uuid
  redis.call("ZADD", keys.engines, opened.now + opened.lease, uuid)
  if engine.leaving == "1" then
    stay(opened, engine)
  end
  local foreign = not_held(uuid, said.ids)
  -- Only a beat that knows of the latest turn can be compared.
  if tonumber(said.number) == engine.number
    and held.count(uuid) > said.count - #foreign then
    take_back(opened, engine, said.ids)
  end
  add(answer, uuid, engine.leaving and "drained" or "live", foreign)
  if redis.call("LLEN", keys.engine(uuid, "bell")) == 0
    and is_awaited(opened, engine, tonumber(said.number)) then
    engines.ring(uuid)
  end
  if opened.stranded or opened.advances then
    require("lib.strays").see_to(opened)
  end
end

-- A planned stop costs no attempt, so what may run twice counts as not begun.
local function spare(ids)
  for id in pairs(ids) do
    local retries = require("lib.record").get(id, "state", "retries")[2]
    if tonumber(retries or 0) > 0 then
      ids[id] = nil
    end
  end
end

local function gone(opened, engine, said, answer)
  if said.verb == "stopped" then
    spare(said.ids)
  end
  local _, all = lose.engine(opened, engine, said.ids, said.number, MOST,
    VERDICTS[said.verb], said.last)
  hold.advance(opened)
  if not all then
    -- If the supervisor does not repeat it, the sweep continues with this engine.
    redis.call("ZADD", keys.engines, "XX", 0, engine.uuid)
  end
  add(answer, engine.uuid, all and "gone" or "more", {})
end

local function renew_card(opened)
  local card = keys.worker(ARGV[2])
  if redis.call("EXISTS", card) == 1 then
    redis.call("HSET", card, "lease", opened.now + opened.lease)
    redis.call("PEXPIRE", card, CARD)
  end
end

local function main(opened)
  local said = parse()
  if not said then
    return reply.fail("BADARG", "a beat that is none")
  end

  -- Writes below.
  redis.call("PERSIST", keys.hub)
  hub.tick(opened)
  renew_card(opened)
  local answer = { "ok" }
  for _, one in ipairs(said) do
    local engine = engines.find(one.uuid)
    if not engine then
      add(answer, one.uuid, one.verb == "live" and "unknown" or "gone", {})
    elseif one.verb == "live" then
      live(opened, engine, one, answer)
    else
      gone(opened, engine, one, answer)
    end
  end
  return answer
end

return hub.run(main)
