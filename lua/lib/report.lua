-- report: what an engine says became of tasks it took.
--
-- Every outcome is fenced by its token, so it counts once whoever sends it and
-- however often: the engine, its supervisor, or either of them again.

local attempts = require("lib.attempts")
local keys = require("lib.keys")
local line = require("lib.line")
local reply = require("lib.reply")
local settle = require("lib.settle")
local story = require("lib.story")

local report = {}

local KINDS = { ok = true, error = true, unbegun = true }
local FIELDS = {
  result = true, error = true, ename = true, evalue = true, repr = true,
  stdout = true, stderr = true,
}

-- ARGV from `at` on: for each outcome kind, id, token, how many ms ago it began,
-- how many us it took, n, and n pairs of record field and value.
-- Returns the list, or nil and the error reply.
function report.parse(at)
  local outcomes = {}
  local last = #ARGV
  while at <= last do
    local pairs_count = tonumber(ARGV[at + 5])
    if not KINDS[ARGV[at]] or not pairs_count or at + 5 + 2 * pairs_count > last then
      return nil, reply.fail("BADARG", "an outcome that is none at argument " .. at)
    end
    local fields, from = {}, at + 5
    for offset = 1, 2 * pairs_count, 2 do
      if not FIELDS[ARGV[from + offset]] then
        return nil, reply.fail("BADARG", "no such outcome field: " .. ARGV[from + offset])
      end
      fields[offset] = ARGV[from + offset]
      fields[offset + 1] = ARGV[from + offset + 1]
    end
    outcomes[#outcomes + 1] = {
      kind = ARGV[at], id = ARGV[at + 1], token = ARGV[at + 2],
      ago = tonumber(ARGV[at + 3]), took = tonumber(ARGV[at + 4]), fields = fields,
    }
    at = from + 2 * pairs_count + 1
  end
  return outcomes
end

-- Part the outcomes into those that count and the ids of those that are stale:
-- the task was given to somebody else, or is no more. Reads only.
function report.judge(outcomes)
  local good, stale, seen = {}, {}, {}
  for _, outcome in ipairs(outcomes) do
    local f = redis.call("HMGET", keys.task(outcome.id), "state", "token", "ttl", "watched")
    if f[2] ~= outcome.token then
      stale[#stale + 1] = outcome
    elseif f[1] == "running" and not seen[outcome.id] then
      -- The same token in any other state: it was heard before.
      seen[outcome.id] = true
      outcome.ttl, outcome.watched = f[3], f[4]
      good[#good + 1] = outcome
    end
  end
  return good, stale
end

function report.tell_stale(opened, uuid, stale)
  for _, outcome in ipairs(stale) do
    story.tell(opened, "stale", "task", outcome.id, "engine", uuid,
      "token", outcome.token, "kind", outcome.kind)
  end
end

-- One more try is used up. Ends the task, or returns true: it may run again.
-- `verdict` is what the hub itself says of an engine that died.
local function failed(opened, ending, uuid, outcome, verdict)
  local id = outcome.id
  local f = redis.call("HMGET", keys.task(id), "tries", "retries", "deaths", "started")
  local tries = tonumber(f[1] or 0) + 1
  local deaths = tonumber(f[3] or 0)
  local again = tries <= tonumber(f[2] or 0)
  local fields = outcome.fields
  local kind, payload, what = "e", nil, nil
  if verdict then
    deaths = deaths + 1
    again = again and deaths < opened.max_deaths
    fields[#fields + 1], fields[#fields + 2] = "deaths", tostring(deaths)
    kind, payload, what = "v", verdict .. " " .. outcome.reason, outcome.reason
  else
    local named = {}
    for at = 1, #fields, 2 do
      named[fields[at]] = fields[at + 1]
    end
    payload = named.error or ""
    what = (named.ename or "?") .. ": " .. (named.evalue or "")
  end
  fields[#fields + 1], fields[#fields + 2] = "tries", tostring(tries)
  attempts.note(opened, id, outcome.token, uuid, f[4], what)
  if again then
    -- Only the count: the error of a try that is not the last is in attempts.
    outcome.again = { "tries", tostring(tries) }
    if verdict then
      outcome.again = { "tries", tostring(tries), "deaths", tostring(deaths) }
    end
    story.tell(opened, "retry", "task", id, "engine", uuid, "try", tries, "why", what)
    return true
  end
  if verdict then
    fields[#fields + 1], fields[#fields + 2] = "verdict", verdict
    fields[#fields + 1], fields[#fields + 2] = "reason", outcome.reason
  end
  settle.outcome(ending, id, "running", "failed", outcome, fields, kind, payload)
  return false
end

local function times(opened, outcome)
  if outcome.ago then
    local fields = outcome.fields
    fields[#fields + 1], fields[#fields + 2] = "started", tostring(opened.stamp - outcome.ago)
    fields[#fields + 1], fields[#fields + 2] = "took", tostring(outcome.took)
  end
end

-- Apply outcomes that count: end the task, or collect it among those to run
-- again. They leave the engine's held set either way. Returns the collection:
-- id, score and fields of each, in the order reported.
function report.apply(opened, ending, uuid, good, verdict)
  if #good == 0 then
    return {}
  end
  local held = keys.engine(uuid, "held")
  local gone, again = {}, {}
  for at, outcome in ipairs(good) do
    gone[at] = outcome.id
    local back
    if outcome.kind == "ok" then
      local result = ""
      for field = 1, #outcome.fields, 2 do
        if outcome.fields[field] == "result" then
          result = outcome.fields[field + 1]
        end
      end
      times(opened, outcome)
      settle.outcome(ending, outcome.id, "running", "completed", outcome,
        outcome.fields, "r", result)
    elseif outcome.kind == "unbegun" then
      outcome.again, back = {}, true
    else
      times(opened, outcome)
      back = failed(opened, ending, uuid, outcome, verdict)
    end
    if back then
      again[#again + 1] = {
        id = outcome.id, fields = outcome.again,
        score = redis.call("ZSCORE", held, outcome.id),
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
