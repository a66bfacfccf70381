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
-- What is longer stands beside its record.
local COMPACT = 64

local function is_kind(kind)
  return kind == "ok" or kind == "error" or kind == "unbegun" or kind == "unmet"
    or kind == "final" or kind == "late" or kind == "aborted"
end

-- Does an outcome of this kind bring neither result nor error?
local function is_bare(kind)
  return kind == "unbegun" or kind == "unmet" or kind == "aborted"
end

local function is_field(name)
  return name == "repr" or name == "stdout" or name == "stderr"
    or name == "ename" or name == "evalue" or name == "words" or name == "by"
    or name == "progress"
end

-- What is wrong with the outcome at `at`, in words; else nil, where it ends, and
-- its numbers: n, ago, took (as text).
local function check(at, last)
  local given = ARGV
  local kind = given[at]
  local ago, took, count = string.match(given[at + 3] or "", "^(%d+) (%d+) (%d+)$")
  local next_at = count and at + HEAD + 2 * count
  if not count or next_at > last + 1 or kind ~= "ok" and not is_kind(kind) then
    return "an outcome that is none at argument " .. at
  end
  if given[at + 4] == "" and not is_bare(kind) then
    return "an outcome without result or error at argument " .. at
  end
  for field = at + HEAD, next_at - 1, 2 do
    if given[field] ~= "repr" and not is_field(given[field]) then
      return "no such outcome field: " .. given[field]
    end
  end
  return nil, next_at, count, ago, took
end

-- Seldom: an outcome as a table. One that is `ok` needs none: that saves a table each.
local function outcome_at(at, count, ago, took, marks)
  return {
    kind = ARGV[at], id = ARGV[at + 1], token = ARGV[at + 2], marks = marks,
    ago = tonumber(ago), took = took, body = ARGV[at + 4], at = at + HEAD,
    count = tonumber(count),
  }
end

-- Read the outcomes from `at` on, and part them into those that count and those
-- that are stale: the task was given to somebody else, or is no more. The rest was
-- heard before. `engine` is the reporting engine as records name it. Returns both
-- lists, or nil and the error reply. Writes nothing. Of an outcome that is `ok` the
-- first list has the place in ARGV, and beside it lists of `ago`, `took` and `marks`.
local function read(at, engine)
  local good, stale, seen = { ago = {}, took = {}, marks = {} }, {}, {}
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
      if ARGV[at] == "ok" then
        good[number] = at
        good.ago[number], good.took[number], good.marks[number] = ago, took, f[3]
      else
        good[number] = outcome_at(at, count, ago, took, f[3])
      end
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

-- Seldom: the fields of the record, when an outcome brings more than most do.
local function more_fields(opened, ending, good, number)
  local at = good[number]
  local outcome = outcome_at(at, string.match(ARGV[at + 3], "%d+$"))
  local all = fields.add(outcome, {
    "state", "completed", "result", record.fit(outcome.id, "result", outcome.body),
    "started", fields.began(opened, good.ago[number]), "took", good.took[number],
  })
  ending.bytes = ending.bytes + (outcome.bytes or 0)
  return all
end

-- Does the outcome at `at` bring a short text of its result and nothing else?
local function is_usual(at)
  return string.sub(ARGV[at + 3], -2) == " 1" and ARGV[at + HEAD] == "repr"
    and ARGV[at + HEAD + 1] ~= "" and #ARGV[at + HEAD + 1] <= COMPACT
end

local function completed(opened, ending, good, number)
  local at = good[number]
  local id, body = ARGV[at + 1], ARGV[at + 4]
  if is_usual(at) then
    redis.call("HSET", keys.task(id), "state", "completed",
      "result", record.fit(id, "result", body),
      "started", fields.began(opened, good.ago[number]), "took", good.took[number],
      "repr", ARGV[at + HEAD + 1])
  else
    redis.call("HSET", keys.task(id), unpack(more_fields(opened, ending, good, number)))
  end
  settle.outcome(ending, id, "running", "completed", ARGV[at + 2], good.marks[number],
    "r", body)
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
  for number = 1, #good do
    local outcome = good[number]
    local usual = type(outcome) == "number"
    local id = usual and ARGV[outcome + 1] or outcome.id
    gone[number] = id
    if usual then
      completed(opened, ending, good, number)
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
