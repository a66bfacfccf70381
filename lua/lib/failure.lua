-- failure: an attempt at a task did not succeed.

local attempts = require("lib.attempts")
local fields = require("lib.fields")
local keys = require("lib.keys")
local record = require("lib.record")
local settle = require("lib.settle")
local story = require("lib.story")

-- The longest backoff before a retry, in ms: a day.
local LONGEST = 86400000
-- How many bytes of a lost attempt's output are kept with it among the attempts.
local SHOWN = 500

-- What went wrong, for people: in the engine's words, or the hub's.
local function describe(outcome, verdict)
  if verdict then
    return outcome.reason
  end
  return (fields.get(outcome, "ename") or "?") .. ": " .. (fields.get(outcome, "evalue") or "")
end

local function fail(opened, ending, outcome, to, verdict, counts)
  local id = outcome.id
  local more, kind, payload
  if verdict then
    kind, payload = "v", verdict .. " " .. outcome.reason
    more = { "verdict", verdict, "reason", outcome.reason, "ended", opened.stamp }
    if outcome.count then
      more = fields.add(outcome, more)
    end
    -- It may have been taken along, and what it waited for lost with it.
    redis.call("HDEL", keys.task(id), "na")
  else
    kind, payload = "e", outcome.body
    more = fields.add(outcome, {
      "error", record.fit(id, "error", outcome.body),
      "started", fields.heard(opened), "took", outcome.took,
    })
  end
  for _, value in ipairs(counts) do
    more[#more + 1] = value
  end
  redis.call("HSET", keys.task(id), "state", to, unpack(more))
  ending.bytes = ending.bytes + (outcome.bytes or 0)
  settle.outcome(ending, id, "running", to, outcome.token, outcome.marks, kind, payload)
end

-- The backoff before the next attempt, in ms. `pause` is "delay factor jitter": the delay
-- grows by the factor with each attempt, and is spread by that fraction of it.
local function pause_of(pause, tries)
  if not pause then
    return 0
  end
  local delay, factor, jitter = string.match(pause, "^(%S+) (%S+) (%S+)$")
  if tonumber(delay) == 0 then
    -- However large the factor becomes.
    return 0
  end
  delay = math.min(LONGEST, tonumber(delay) * tonumber(factor) ^ (tries - 1))
  if tonumber(jitter) > 0 then
    delay = delay * (1 + tonumber(jitter) * (2 * require("lib.dice").fraction() - 1))
  end
  return math.floor(math.min(LONGEST, delay))
end

-- Log what must not be retried because its signature is wrong.
local function tell_refused(opened, uuid, outcome, what)
  if fields.get(outcome, "ename") == "SignatureError" then
    story.tell(opened, "refused", "task", outcome.id, "engine", uuid, "why", what)
  end
end

-- What went wrong, for the list of attempts; if its engine died, with the end of its
-- output.
local function last_words(outcome, what, verdict)
  local said = verdict and outcome.count
    and (fields.get(outcome, "stderr") or fields.get(outcome, "stdout"))
  return said and what .. "; it printed last: " .. string.sub(said, -SHOWN) or what
end

-- When so many engines have died running a task, it gets no other.
local function most_deaths()
  return tonumber(redis.call("HGET", keys.hub, "max_deaths"))
end

-- How many engines have died running a task. One that was taken along, and lost with what
-- it waits for, has hardly killed any.
local function deaths_with(f, verdict)
  local deaths = tonumber(f[3] or 0)
  return verdict and not f[7] and deaths + 1 or deaths
end

-- A failing map must not drive everything else out of the log, so what fails at once is one
-- event (lib/settle.lua).
local function note_failure(ending, id, uuid, tries, what)
  local failure = ending.failure or { more = -1, id = id, uuid = uuid, tries = tries, why = what }
  failure.more = failure.more + 1
  ending.failure = failure
end

-- One more attempt is used up. Ends the task, or returns how it is to run again: what to
-- write to its record, the backoff, and which engine to shun. With a verdict it is the
-- hub's: the engine died, and `outcome.reason` says why. `label` is the engine's.
local function failed(opened, ending, uuid, label, outcome, verdict)
  local id, what = outcome.id, describe(outcome, verdict)
  local f = redis.call("HMGET", keys.task(id),
    "tries", "retries", "deaths", "started", "pause", "elsewhere", "na")
  local tries, deaths = (f[1] or 0) + 1, deaths_with(f, verdict)
  local counts = { "tries", tries, "ran", label .. "/" .. uuid }
  if deaths > 0 then
    counts[5], counts[6] = "deaths", deaths
  end
  local since = verdict and f[4] or fields.began(opened, outcome.ago)
  attempts.note(opened, id, outcome.token, uuid, since, last_words(outcome, what, verdict))
  if outcome.kind == "final" then
    tell_refused(opened, uuid, outcome, what)
  elseif tries <= tonumber(f[2] or 0) and deaths < most_deaths() then
    story.tell(opened, "retry", "task", id, "engine", uuid,
      "try", tries, "why", what)
    return {
      fields = counts, tried = true, pause = pause_of(f[5], tries),
      shun = f[6] and label or nil, last = what,
    }
  end
  note_failure(ending, id, uuid, tries, what)
  fail(opened, ending, outcome, "failed", verdict, counts)
end

-- The engine says that it lacks what the task needs: no attempt is counted. Returns how
-- it is to run again.
local function unmet(opened, uuid, label, outcome)
  local words = fields.get(outcome, "words") or ""
  attempts.refuse(outcome.id, label, words)
  story.tell(opened, "refusal", "task", outcome.id, "engine", uuid, "why", words)
  local by = fields.get(outcome, "by")
  if by == "require" then
    -- At once: this very turn must get no other task of this function.
    local fn = redis.call("HGET", keys.task(outcome.id), "fn")
    require("lib.functions").refuse(opened, fn, tonumber(label))
  end
  return { fields = {}, shun = label, by = by, last = words }
end

-- It was to be aborted while running, and now no longer runs.
local function interrupted(opened, ending, outcome)
  outcome.reason = "interrupted"
  fail(opened, ending, outcome, "aborted", "aborted", {})
end

return {
  failed = failed,
  unmet = unmet,
  interrupted = interrupted,
}
