-- report: what an engine says became of tasks it took.
--
-- Every outcome is fenced by its token, so it counts once whoever sends it and
-- however often: the engine, its supervisor, or either of them again.

local keys = require("lib.keys")
local line = require("lib.line")
local record = require("lib.record")
local settle = require("lib.settle")

local report = {}

local function is_field(name)
  return name == "repr" or name == "stdout" or name == "stderr"
    or name == "ename" or name == "evalue"
end

local function refuse(sentence)
  return nil, require("lib.reply").fail("BADARG", sentence)
end

-- ARGV from `at` on: for each outcome kind, id, token, how many ms ago it began,
-- how many us it took, its body (result or error), n, and n pairs of further
-- record field and value. Reads the records and parts the outcomes into those
-- that count and those that are stale: the task was given to somebody else, or
-- is no more. Returns both lists, or nil and the error reply. Writes nothing.
function report.read(at)
  local good, stale, seen = {}, {}, {}
  local last = #ARGV
  while at <= last do
    local kind, id, token = ARGV[at], ARGV[at + 1], ARGV[at + 2]
    local count = tonumber(ARGV[at + 6])
    if kind ~= "ok" and kind ~= "error" and kind ~= "unbegun" then
      return refuse("an outcome that is none at argument " .. at)
    end
    local next_at = count and at + 7 + 2 * count
    if not next_at or count < 0 or count ~= math.floor(count) or next_at > last + 1 then
      return refuse("an outcome that is none at argument " .. at)
    end
    for field = at + 7, next_at - 1, 2 do
      if not is_field(ARGV[field]) then
        return refuse("no such outcome field: " .. ARGV[field])
      end
    end
    local f = redis.call("HMGET", keys.task(id), "state", "token", "ends")
    if f[2] ~= token then
      stale[#stale + 1] = { kind = kind, id = id, token = token }
    elseif f[1] == "running" and not seen[id] then
      -- The same token in any other state: it was heard before.
      seen[id] = true
      good[#good + 1] = {
        kind = kind, id = id, token = token, ends = f[3],
        ago = tonumber(ARGV[at + 3]) or 0, took = ARGV[at + 4],
        body = ARGV[at + 5], at = at + 7, count = count,
      }
    end
    at = next_at
  end
  return good, stale
end

function report.tell_stale(opened, uuid, stale)
  if #stale == 0 then
    return
  end
  local story = require("lib.story")
  for _, outcome in ipairs(stale) do
    story.tell(opened, "stale", "task", outcome.id, "engine", uuid,
      "token", outcome.token, "kind", outcome.kind)
  end
end

-- Record fields that an outcome brings along, behind those given.
local function with_fields(outcome, fields)
  for at = outcome.at, outcome.at + 2 * outcome.count - 1, 2 do
    local name = ARGV[at]
    fields[#fields + 1] = name
    fields[#fields + 1] = record.fit(outcome.id, name, ARGV[at + 1])
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
  return string.format("%.0f", opened.stamp - outcome.ago)
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

-- One more try is used up. Ends the task, or returns what to write to its record
-- because it may run again. With a verdict it is the hub that says so: the
-- engine died, and `outcome.reason` is why.
local function failed(opened, ending, uuid, outcome, verdict)
  local attempts = require("lib.attempts")
  local id = outcome.id
  local f = redis.call("HMGET", keys.task(id), "tries", "retries", "deaths", "started")
  local tries, deaths = (f[1] or 0) + 1, (f[3] or 0) + (verdict and 1 or 0)
  local what = outcome.reason
  if not verdict then
    what = (field(outcome, "ename") or "?") .. ": " .. (field(outcome, "evalue") or "")
  end
  attempts.note(opened, id, outcome.token, uuid, f[4], what)
  local again = { "tries", tries }
  if deaths > 0 then
    again[3], again[4] = "deaths", deaths
  end
  if tries <= tonumber(f[2] or 0) and deaths < opened.max_deaths then
    require("lib.story").tell(opened, "retry", "task", id, "engine", uuid,
      "try", tries, "why", what)
    return again
  end
  local fields, kind, payload
  if verdict then
    kind, payload = "v", verdict .. " " .. what
    fields = { "verdict", verdict, "reason", what, "ended", opened.stamp }
  else
    kind, payload = "e", outcome.body
    fields = with_fields(outcome, {
      "error", record.fit(id, "error", outcome.body),
      "started", began(opened, outcome), "took", outcome.took,
    })
  end
  redis.call("HSET", keys.task(id), "state", "failed", "tries", tries,
    "deaths", deaths, unpack(fields))
  settle.outcome(ending, id, "running", "failed", outcome.token, outcome.ends, kind, payload)
end

-- Apply outcomes that count: end the task, or collect it among those to run
-- again. They leave the engine's held set either way. Returns the collection:
-- id, score and fields of each, in the order reported.
function report.apply(opened, ending, uuid, good, verdict)
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
function report.put_back(opened, again, except)
  local waiting = 0
  for _, task in ipairs(again) do
    local queue = redis.call("HGET", keys.task(task.id), "queue") or "default"
    if not line.again(opened, queue, task.id, task.score, except, task.fields) then
      waiting = waiting + 1
    end
  end
  return waiting
end

return report
