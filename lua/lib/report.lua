-- report: what an engine says became of tasks it took.
--
-- Every outcome is fenced by its token, so it counts once whoever sends it and
-- however often: the engine, its supervisor, or either of them again.

local fields = require("lib.fields")
local keys = require("lib.keys")
local record = require("lib.record")
local settle = require("lib.settle")

-- An outcome in ARGV: kind, id, token, "ago took n", its body (result or error),
-- and n pairs of further record field and value: so many arguments before the
-- pairs. It began `ago` us ago and took so many. The three numbers are one
-- argument because each costs Redis as much as a string.
local HEAD = 5

local function is_kind(kind)
  return kind == "ok" or kind == "error" or kind == "unbegun" or kind == "unmet"
    or kind == "final" or kind == "late" or kind == "aborted"
end

local function is_field(name)
  return name == "repr" or name == "stdout" or name == "stderr"
    or name == "ename" or name == "evalue" or name == "words" or name == "by"
end

-- What is wrong with the outcome at `at`, in words; else nil, where it ends, and
-- its numbers: n, ago, took (as text).
local function check(at, last)
  local ago, took, count = string.match(ARGV[at + 3] or "", "^(%d+) (%d+) (%d+)$")
  count = tonumber(count)
  if not is_kind(ARGV[at]) or not count or at + HEAD + 2 * count > last + 1 then
    return "an outcome that is none at argument " .. at
  end
  local bare = ARGV[at] == "unbegun" or ARGV[at] == "unmet" or ARGV[at] == "aborted"
  if ARGV[at + 4] == "" and not bare then
    return "an outcome without result or error at argument " .. at
  end
  local next_at = at + HEAD + 2 * count
  for field = at + HEAD, next_at - 1, 2 do
    if not is_field(ARGV[field]) then
      return "no such outcome field: " .. ARGV[field]
    end
  end
  return nil, next_at, count, tonumber(ago), took
end

-- Read the outcomes from `at` on, and part them into those that count and those
-- that are stale: the task was given to somebody else, or is no more. The rest was
-- heard before. `engine` is the reporting engine as records name it. Returns both
-- lists, or nil and the error reply. Writes nothing.
local function read(at, engine)
  local good, stale, seen = {}, {}, {}
  local last, number = #ARGV, 0
  while at <= last do
    local wrong, next_at, count, ago, took = check(at, last)
    if wrong then
      return nil, require("lib.reply").fail("BADARG", wrong)
    end
    local id, token = ARGV[at + 1], ARGV[at + 2]
    local f = redis.call("HMGET", keys.task(id), "state", "token", "marks", "engine")
    if f[2] ~= token or (f[1] == "running" and f[4] ~= engine) then
      stale[#stale + 1] = { kind = ARGV[at], id = id, token = token }
    elseif f[1] == "running" and not seen[id] then
      seen[id] = true
      number = number + 1
      good[number] = {
        kind = ARGV[at], id = id, token = token, marks = f[3],
        ago = ago, took = took, body = ARGV[at + 4], at = at + HEAD, count = count,
      }
    end
    at = next_at
  end
  return good, stale
end

local function tell_stale(opened, uuid, stale)
  if #stale == 0 then
    return
  end
  local story = require("lib.story")
  for _, outcome in ipairs(stale) do
    -- Given back twice is no news.
    if outcome.kind ~= "unbegun" then
      story.tell(opened, "stale", "task", outcome.id, "engine", uuid,
        "token", outcome.token, "kind", outcome.kind)
    end
  end
end

local function completed(opened, ending, outcome)
  local id, body = outcome.id, outcome.body
  local fitted = record.fit(id, "result", body)
  if outcome.count == 0 then
    redis.call("HSET", keys.task(id), "state", "completed", "result", fitted,
      "started", fields.began(opened, outcome), "took", outcome.took)
  else
    redis.call("HSET", keys.task(id), unpack(fields.add(outcome, {
      "state", "completed", "result", fitted,
      "started", fields.began(opened, outcome), "took", outcome.took,
    })))
    ending.bytes = ending.bytes + (outcome.bytes or 0)
  end
  settle.outcome(ending, id, "running", "completed", outcome.token, outcome.marks, "r", body)
end

-- Seldom: one outcome that is no result. Returns how the task is to run again, or nil when
-- it has ended.
local function other(opened, ending, uuid, label, outcome, verdict)
  local unwanted = string.find(outcome.marks or "", "x", 1, true)
  if unwanted or outcome.kind == "aborted" then
    return require("lib.failure").interrupted(opened, ending, outcome)
  elseif outcome.kind == "unbegun" then
    return { fields = {} }
  end
  local failure = require("lib.failure")
  if outcome.kind == "unmet" then
    return failure.unmet(opened, uuid, label, outcome)
  end
  return failure.failed(opened, ending, uuid, label, outcome, verdict)
end

-- Apply outcomes that count: end the task, or collect it among those to run
-- again. They leave the engine's held set either way. `engine` is its uuid and
-- label. Returns the collection: id and score, and how to run each again, in the
-- order reported.
local function apply(opened, ending, engine, good, verdict)
  local again = {}
  if #good == 0 then
    return again
  end
  local held = keys.engine(engine.uuid, "held")
  local gone = {}
  for at, outcome in ipairs(good) do
    local id = outcome.id
    gone[at] = id
    if outcome.kind == "ok" then
      completed(opened, ending, outcome)
    else
      local back = other(opened, ending, engine.uuid, engine.id, outcome, verdict)
      if back then
        back.id, back.score = id, redis.call("ZSCORE", held, id)
        again[#again + 1] = back
      end
    end
  end
  redis.call("ZREM", held, unpack(gone))
  if #good > #again then
    redis.call("HINCRBY", keys.engine(engine.uuid), "done", #good - #again)
  end
  return again
end

return {
  read = read,
  tell_stale = tell_stale,
  apply = apply,
}
