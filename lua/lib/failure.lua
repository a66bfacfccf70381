-- failure: a try of a task did not succeed.

local attempts = require("lib.attempts")
local fields = require("lib.fields")
local keys = require("lib.keys")
local record = require("lib.record")
local settle = require("lib.settle")
local story = require("lib.story")

-- What went wrong, for people: the engine's words, or the hub's own.
local function describe(outcome, verdict)
  if verdict then
    return outcome.reason
  end
  return (fields.get(outcome, "ename") or "?") .. ": " .. (fields.get(outcome, "evalue") or "")
end

local function fail(opened, ending, outcome, verdict, counts)
  local id = outcome.id
  local more, kind, payload
  if verdict then
    kind, payload = "v", verdict .. " " .. outcome.reason
    more = { "verdict", verdict, "reason", outcome.reason, "ended", opened.stamp }
  else
    kind, payload = "e", outcome.body
    more = fields.add(outcome, {
      "error", record.fit(id, "error", outcome.body),
      "started", fields.began(opened, outcome), "took", outcome.took,
    })
  end
  redis.call("HSET", keys.task(id), "state", "failed", unpack(more))
  redis.call("HSET", keys.task(id), unpack(counts))
  settle.outcome(ending, id, "running", "failed", outcome.token, outcome.ends, kind, payload)
end

-- Did the engine refuse to unpickle it, because nobody with a key has signed it as
-- it is? No other engine will take it.
local function is_refused(outcome)
  return fields.get(outcome, "ename") == "SignatureError"
    and string.find(fields.get(outcome, "evalue") or "", "^refused: ") ~= nil
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
  local since = verdict and f[4] or fields.began(opened, outcome)
  attempts.note(opened, id, outcome.token, uuid, since, what)
  if not verdict and is_refused(outcome) then
    story.tell(opened, "refused", "task", id, "engine", uuid, "why", what)
  elseif tries <= tonumber(f[2] or 0) and deaths < opened.max_deaths then
    story.tell(opened, "retry", "task", id, "engine", uuid,
      "try", tries, "why", what)
    return counts
  end
  fail(opened, ending, outcome, verdict, counts)
end

return {
  failed = failed,
}
