-- report: what an engine says became of tasks it took.
--
-- Every outcome is fenced by its token, so it counts once whoever sends it and
-- however often: the engine, its supervisor, or either of them again.

local argument = require("lib.argument")
local keys = require("lib.keys")
local line = require("lib.line")
local record = require("lib.record")
local settle = require("lib.settle")

-- An outcome in ARGV: kind, id, token, how many ms ago it began, how many us it
-- took, its body (result or error), n, and n pairs of further record field and
-- value: so many arguments before the pairs.
local HEAD = 7

local function is_kind(kind)
  return kind == "ok" or kind == "error" or kind == "unbegun"
end

local function is_field(name)
  return name == "repr" or name == "stdout" or name == "stderr"
    or name == "ename" or name == "evalue"
end

-- What is wrong with the outcome at `at`, in words; else nil and where it ends.
local function check(at, last)
  local count = argument.count(ARGV[at + 6])
  if not is_kind(ARGV[at]) or not count or at + HEAD + 2 * count > last + 1 then
    return "an outcome that is none at argument " .. at
  end
  if ARGV[at + 5] == "" and ARGV[at] ~= "unbegun" then
    return "an outcome without result or error at argument " .. at
  end
  if not argument.count(ARGV[at + 3]) or not argument.count(ARGV[at + 4]) then
    return "an outcome without its times at argument " .. at
  end
  local next_at = at + HEAD + 2 * count
  for field = at + HEAD, next_at - 1, 2 do
    if not is_field(ARGV[field]) then
      return "no such outcome field: " .. ARGV[field]
    end
  end
  return nil, next_at, count
end

-- Read the outcomes from `at` on, and part them into those that count and those
-- that are stale: the task was given to somebody else, or is no more. The rest was
-- heard before. `engine` is the reporting engine as records name it. Returns both
-- lists, or nil and the error reply. Writes nothing.
local function read(at, engine)
  local good, stale, seen = {}, {}, {}
  local last, number = #ARGV, 0
  while at <= last do
    local wrong, next_at, count = check(at, last)
    if wrong then
      return nil, require("lib.reply").fail("BADARG", wrong)
    end
    local id, token = ARGV[at + 1], ARGV[at + 2]
    local f = redis.call("HMGET", keys.task(id), "state", "token", "ends", "engine")
    if f[2] ~= token or (f[1] == "running" and f[4] ~= engine) then
      stale[#stale + 1] = { kind = ARGV[at], id = id, token = token }
    elseif f[1] == "running" and not seen[id] then
      seen[id] = true
      number = number + 1
      good[number] = {
        kind = ARGV[at], id = id, token = token, ends = f[3],
        ago = tonumber(ARGV[at + 3]), took = ARGV[at + 4],
        body = ARGV[at + 5], at = at + HEAD, count = count,
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
    story.tell(opened, "stale", "task", outcome.id, "engine", uuid,
      "token", outcome.token, "kind", outcome.kind)
  end
end

-- Record fields that an outcome brings along, behind those given. What tasks
-- print may be long; the others are for a line on a screen. Empty ones are left
-- out: an empty field says that the value stands beside the record.
local function with_fields(outcome, fields)
  for at = outcome.at, outcome.at + 2 * outcome.count - 1, 2 do
    local name, value = ARGV[at], ARGV[at + 1]
    local filled = value ~= ""
    if name == "stdout" or name == "stderr" then
      value = record.fit(outcome.id, name, value)
    else
      value = string.sub(value, 1, 64)
    end
    if filled then
      fields[#fields + 1], fields[#fields + 2] = name, value
    end
  end
  return fields
end

local function field(outcome, name)
  for at = outcome.at, outcome.at + 2 * outcome.count - 1, 2 do
    if ARGV[at] == name then
      return ARGV[at + 1]
    end
  end
end

local function began(opened, outcome)
  return string.format("%d", opened.stamp - outcome.ago)
end

local function completed(opened, ending, outcome)
  local id, body = outcome.id, outcome.body
  local fitted = record.fit(id, "result", body)
  if outcome.count == 0 then
    redis.call("HSET", keys.task(id), "state", "completed", "result", fitted,
      "started", began(opened, outcome), "took", outcome.took)
  else
    redis.call("HSET", keys.task(id), unpack(with_fields(outcome, {
      "state", "completed", "result", fitted,
      "started", began(opened, outcome), "took", outcome.took,
    })))
  end
  settle.outcome(ending, id, "running", "completed", outcome.token, outcome.ends, "r", body)
end

-- What went wrong, for people: the engine's words, or the hub's own.
local function describe(outcome, verdict)
  if verdict then
    return outcome.reason
  end
  return (field(outcome, "ename") or "?") .. ": " .. (field(outcome, "evalue") or "")
end

local function fail(opened, ending, outcome, verdict, counts)
  local id = outcome.id
  local fields, kind, payload
  if verdict then
    kind, payload = "v", verdict .. " " .. outcome.reason
    fields = { "verdict", verdict, "reason", outcome.reason, "ended", opened.stamp }
  else
    kind, payload = "e", outcome.body
    fields = with_fields(outcome, {
      "error", record.fit(id, "error", outcome.body),
      "started", began(opened, outcome), "took", outcome.took,
    })
  end
  redis.call("HSET", keys.task(id), "state", "failed", unpack(fields))
  redis.call("HSET", keys.task(id), unpack(counts))
  settle.outcome(ending, id, "running", "failed", outcome.token, outcome.ends, kind, payload)
end

-- One more try is used up. Ends the task, or returns what to write to its record
-- because it may run again. With a verdict it is the hub that says so: the
-- engine died, and `outcome.reason` is why.
local function failed(opened, ending, uuid, outcome, verdict)
  local id, what = outcome.id, describe(outcome, verdict)
  local f = redis.call("HMGET", keys.task(id), "tries", "retries", "deaths", "started")
  local tries, deaths = (f[1] or 0) + 1, tonumber(f[3] or 0)
  local counts = { "tries", tries }
  if verdict then
    deaths = deaths + 1
    counts[3], counts[4] = "deaths", deaths
  end
  local since = verdict and f[4] or began(opened, outcome)
  require("lib.attempts").note(opened, id, outcome.token, uuid, since, what)
  if tries <= tonumber(f[2] or 0) and deaths < opened.max_deaths then
    require("lib.story").tell(opened, "retry", "task", id, "engine", uuid,
      "try", tries, "why", what)
    return counts
  end
  fail(opened, ending, outcome, verdict, counts)
end

-- Apply outcomes that count: end the task, or collect it among those to run
-- again. They leave the engine's held set either way. Returns the collection:
-- id, score and fields of each, in the order reported.
local function apply(opened, ending, uuid, good, verdict)
  local again = {}
  if #good == 0 then
    return again
  end
  local held = keys.engine(uuid, "held")
  local gone = {}
  for at, outcome in ipairs(good) do
    local id, fields = outcome.id, nil
    gone[at] = id
    if outcome.kind == "ok" then
      completed(opened, ending, outcome)
    elseif outcome.kind == "unbegun" then
      fields = {}
    else
      fields = failed(opened, ending, uuid, outcome, verdict)
    end
    if fields then
      again[#again + 1] = {
        id = id, fields = fields, score = redis.call("ZSCORE", held, id),
      }
    end
  end
  redis.call("ZREM", held, unpack(gone))
  return again
end

-- Put the collected ones back in line. Returns how many found no engine at once.
local function put_back(opened, again, except)
  local waiting = 0
  for _, task in ipairs(again) do
    local queue = redis.call("HGET", keys.task(task.id), "queue") or "default"
    if not line.again(opened, queue, task.id, task.score, except, task.fields) then
      waiting = waiting + 1
    end
  end
  return waiting
end

return {
  read = read,
  tell_stale = tell_stale,
  apply = apply,
  put_back = put_back,
}
