-- report: read and apply what became of tasks that an engine took.
--
-- Every outcome is fenced by its token, so it counts once, whoever sends it and however
-- often: the engine, its supervisor, or either of them again.

local engines = require("lib.engines")
local fields = require("lib.fields")
local held = require("lib.held")
local keys = require("lib.keys")
local parcel = require("lib.parcel")
local record = require("lib.record")
local settle = require("lib.settle")

-- How many arguments an outcome has in ARGV before its pairs: "kind:n", id, token, "ago
-- took" and body (result or error); then come n pairs of record field and value. It began
-- `ago` us ago and ran for `took`, which the record gets as it is.
local HEAD = 5
-- Most outcomes are a result with a short text of it.
local USUAL = "ok:1"
-- Longer values are stored beside the record.
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

-- Seldom: what the outcome at `at` lacks for its kind, in words; else nil.
local function misses(kind, at)
  local body = ARGV[at + 4]
  if body == "" and not is_bare(kind) then
    return "an outcome without result or error at argument " .. at
  elseif body == parcel.PARCEL
    and (kind ~= "ok" or parcel.size(ARGV[at + 1], ARGV[at + 2]) == 0) then
    return "an outcome whose result did not come at argument " .. at
  end
end

-- Seldom: what is wrong with the outcome at `at`, in words; else nil and where it ends.
local function check(at, last)
  local given = ARGV
  local kind, count = string.match(given[at], "^(%a+):(%d+)$")
  local next_at = count and at + HEAD + 2 * count
  if not count or next_at > last + 1 or not is_kind(kind)
    or not string.find(given[at + 3], "^%d+ %d+$") then
    return "an outcome that is none at argument " .. at
  end
  local missed = misses(kind, at)
  if missed then
    return missed
  end
  local seen = {}
  for field = at + HEAD, next_at - 1, 2 do
    if not is_field(given[field]) or seen[given[field]] then
      return "no such outcome field, or one twice: " .. given[field]
    end
    seen[given[field]] = true
  end
  return nil, next_at
end

-- Does the outcome at `at` bring a result, a short text of it and nothing else?
local function is_usual(at)
  local given = ARGV
  local text = given[at + 6]
  return given[at] == USUAL and text and given[at + 5] == "repr" and text ~= ""
    and #text <= COMPACT and given[at + 4] ~= "" and given[at + 4] ~= parcel.PARCEL
    and string.find(given[at + 3], "^%d+ %d+$")
end

-- Seldom: an outcome as a table. A usual one does without, which saves a table each.
local function outcome_at(at, found)
  local kind, count = string.match(ARGV[at], "^(%a+):(%d+)$")
  local took = ARGV[at + 3]
  return {
    kind = kind, id = ARGV[at + 1], token = ARGV[at + 2],
    score = held.score(ARGV[at + 1], found), folded = held.is_folded(found),
    along = held.is_along(found),
    ago = tonumber(string.match(took, "^%d+")), took = took, body = ARGV[at + 4],
    at = at + HEAD, count = tonumber(count),
  }
end

-- Seldom: an outcome of a task that the engine does not hold: heard before, or stale.
local function note_stale(stale, kind, id, token)
  local f = record.get(id, "state", "token")
  if f[2] ~= token or f[1] == "running" then
    stale[#stale + 1] = { kind = kind, id = id, token = token }
  end
end

-- The places of outcomes in ARGV, from `at` on, negative for unusual ones, and their ids;
-- or nil and what is wrong.
local function find(at)
  local places, ids, last, number = {}, {}, #ARGV, 0
  while at <= last do
    number = number + 1
    ids[number] = ARGV[at + 1]
    if is_usual(at) then
      places[number] = at
      at = at + HEAD + 2
    else
      places[number] = -at
      if at + HEAD > last + 1 then
        return nil, "an outcome that is none at argument " .. at
      end
      local wrong, next_at = check(at, last)
      if wrong then
        return nil, wrong
      end
      at = next_at
    end
  end
  return places, ids
end

-- Seldom: a usual outcome's marks are beside its place, those of others within.
local function set_marks(good, number, marks)
  if type(good[number]) == "number" then
    good.marks[number] = marks or nil
  else
    good[number].marks = marks or nil
  end
end

-- Seldom: blocks of outcomes, from `at` on (lib/folded.lua). Returns them and where they
-- end; or nil and what is wrong.
local function find_blocks(at)
  local blocks, folded = {}, require("lib.folded")
  while folded.is_block(at) do
    local block, next_at = folded.parse(at)
    if not block then
      return nil, next_at
    end
    blocks[#blocks + 1], at = block, next_at
  end
  return blocks, at
end

-- Seldom: add outcomes that cannot end with the rest of their block.
local function add_odd(good, stale, odd)
  for _, outcome in ipairs(odd.good) do
    good[#good + 1] = outcome
    outcome.marks = redis.call("HGET", keys.task(outcome.id), "marks") or nil
  end
  for _, one in ipairs(odd.stale) do
    note_stale(stale, "ok", one.id, one.token)
  end
end

-- Seldom: read the blocks from `at` on into `good` and `stale`. Returns where they end; or
-- nil and what is wrong.
local function read_blocks(at, uuid, good, stale)
  local blocks, next_at = find_blocks(at)
  if not blocks then
    return nil, next_at
  end
  local seen = {}
  for _, block in ipairs(blocks) do
    local odd = { good = {}, stale = {} }
    require("lib.folded").check(block, uuid, odd, seen)
    add_odd(good, stale, odd)
    if #block.ids > 0 then
      good.blocks = good.blocks or {}
      good.blocks[#good.blocks + 1] = block
    end
  end
  return next_at
end

-- Seldom: end the tasks in blocks. Returns how many.
local function apply_blocks(opened, ending, engine, blocks)
  local ended = 0
  for _, block in ipairs(blocks) do
    if #block.ids > 0 then
      require("lib.folded").apply(opened, ending, engine, block)
      ended = ended + #block.ids
    end
  end
  -- The next tasks are likely to be on the sheet, too.
  opened.folds = true
  return ended
end

-- Note an outcome that counts, `found` in what the engine holds.
local function note_good(good, number, place, from, id, found)
  local usual = place > 0 and not held.is_folded(found)
  good[number] = usual and place or outcome_at(from, found)
  if usual and held.is_along(found) then
    good.along[id] = true
  end
  if held.is_marked(found) then
    set_marks(good, number, redis.call("HGET", keys.task(id), "marks"))
  end
end

-- Separate outcomes that are not in blocks.
local function read_others(uuid, places, ids, good, stale)
  local number, fence, token, given = #good, nil, nil, ARGV
  local entries = held.read(uuid, ids)
  for order = 1, #ids do
    local found, place = entries[order], places[order]
    local from = place < 0 and -place or place
    if given[from + 2] ~= token then
      token = given[from + 2]
      fence = token .. " "
    end
    if not found or string.find(found, fence, 1, true) ~= 1 then
      note_stale(stale, string.match(given[from], "^%a+"), ids[order], token)
    else
      number = number + 1
      note_good(good, number, place, from, ids[order], found)
    end
  end
end

-- Read the outcomes from `at` on, and separate those that count from those that are
-- stale: the task was given to another engine, or is gone. Others were heard before.
-- `uuid` is the reporting engine's. Returns both lists, or nil and the error reply.
-- Writes nothing. In the first list a usual outcome is its place in ARGV; `marks` has the
-- marks of those that have any, `along` the set of those that were taken along, and
-- `blocks` the blocks.
local function read(at, uuid)
  local good, stale, given, wrong = { marks = {}, along = {} }, {}, ARGV, nil
  if string.find(given[at], "folded:", 1, true) == 1 then
    at, wrong = read_blocks(at, uuid, good, stale)
  end
  local places, ids
  if at then
    places, ids = find(at)
  end
  if not places then
    return nil, require("lib.reply").fail("BADARG", ids or wrong)
  elseif #ids > 0 then
    read_others(uuid, places, ids, good, stale)
  end
  good.any = good.blocks ~= nil or #good > 0
  return good, stale
end

local function tell_stale(opened, uuid, stale)
  if #stale == 0 then
    return
  end
  local story = require("lib.story")
  for _, outcome in ipairs(stale) do
    -- Given back twice is not worth an entry.
    if outcome.kind ~= "unbegun" then
      story.tell(opened, "stale", "task", outcome.id, "engine", uuid,
        "token", outcome.token, "kind", outcome.kind)
    end
  end
end

-- Seldom: a result with more than a short text of it.
local function unusual(opened, ending, outcome)
  local id, body = outcome.id, outcome.body
  local value
  if body == parcel.PARCEL then
    -- What is stored beside the record is not repeated in the stream.
    value, body = "", ""
    ending.bytes = ending.bytes + parcel.take(id, "result", outcome.token)
  else
    value = record.fit(id, "result", body)
  end
  local all = fields.add(outcome, {
    "state", "completed", "result", value, "started", fields.heard(opened), "took", outcome.took,
  })
  ending.bytes = ending.bytes + (outcome.bytes or 0)
  redis.call("HSET", keys.task(id), unpack(all))
  settle.outcome(ending, id, "running", "completed", outcome.token, outcome.marks,
    "r", body)
end

-- Seldom: an engine has run a task that it took along, so what this waited for has
-- succeeded, whoever has been told.
local function forget_wait(id)
  redis.call("HDEL", keys.task(id), "na")
end

-- Apply the usual outcome at `at`.
local function completed(opened, ending, at, marks, along)
  local given = ARGV
  local id, body = given[at + 1], given[at + 4]
  if along and along[id] then
    forget_wait(id)
  end
  redis.call("HSET", keys.task(id), "state", "completed",
    "result", record.fit(id, "result", body), "started", fields.heard(opened),
    "took", given[at + 3], "repr", given[at + 6])
  settle.outcome(ending, id, "running", "completed", given[at + 2], marks, "r", body)
end

-- Seldom: apply an outcome that is not the usual. Returns how the task is to run again,
-- or nil when it has ended; it `waits` if that is for another.
local function other(opened, ending, uuid, label, outcome, verdict)
  if outcome.folded and outcome.kind == "unbegun" then
    return { folded = true }
  end
  record.own(outcome.id)
  if outcome.along and outcome.kind ~= "unbegun" and outcome.kind ~= "lost" then
    forget_wait(outcome.id)
  end
  if outcome.kind == "ok" then
    return unusual(opened, ending, outcome)
  end
  local unwanted = string.find(outcome.marks or "", "x", 1, true)
  if unwanted or outcome.kind == "aborted" then
    return require("lib.failure").interrupted(opened, ending, outcome)
  elseif outcome.kind == "unbegun" then
    local waits = require("lib.again").wait_again(outcome.id, outcome.score)
    return { fields = {}, unbegun = true, waits = waits }
  end
  local failure = require("lib.failure")
  if outcome.kind == "unmet" then
    return failure.unmet(opened, uuid, label, outcome)
  end
  return failure.failed(opened, ending, uuid, label, outcome, verdict)
end

local function id_of(outcome)
  return type(outcome) == "number" and ARGV[outcome + 1] or outcome.id
end

-- Seldom: the first of outcomes reported twice in one call. Those in blocks precede all
-- others.
local function distinct(good, seen)
  local first = { marks = {}, along = good.along }
  for number = 1, #good do
    local id = id_of(good[number])
    if not seen[id] then
      seen[id] = true
      first[#first + 1] = good[number]
      first.marks[#first] = good.marks and good.marks[number]
    end
  end
  return first
end

-- Seldom: likewise in blocks. Returns the ids seen.
local function distinct_blocks(blocks)
  local seen = {}
  require("lib.folded").filter_new(blocks, seen)
  return seen
end

-- Seldom: the engine no longer holds tasks in blocks.
local function leave_blocks(uuid, blocks)
  local all = true
  for _, block in ipairs(blocks) do
    if block.rest then
      require("lib.lots").set(uuid, block.token, block.rest)
    end
  end
  for _, block in ipairs(blocks) do
    all = (block.rest or held.remove(uuid, block.ids) == #block.ids) and all
  end
  if not all then
    distinct_blocks(blocks)
  end
end

-- Remove tasks from what the engine holds; returns their outcomes, each task once.
local function leave(uuid, good)
  if good.blocks then
    leave_blocks(uuid, good.blocks)
  end
  if #good == 0 then
    return good
  end
  local ids = {}
  for number = 1, #good do
    ids[number] = id_of(good[number])
  end
  if held.remove(uuid, ids) == #ids then
    return good
  end
  return distinct(good, distinct_blocks(good.blocks or {}))
end

-- Apply outcomes that are not in blocks; adds to `again` what is to run again. Returns how
-- many have ended.
local function apply_others(opened, ending, engine, good, verdict, again)
  local ended = 0
  for number = 1, #good do
    local outcome, back = good[number], nil
    if type(outcome) == "number" then
      completed(opened, ending, outcome, good.marks[number], good.along)
    else
      back = other(opened, ending, engine.uuid, engine.id, outcome, verdict)
    end
    if not back then
      ended = ended + 1
    elseif not back.waits then
      back.id, back.score = outcome.id, outcome.score
      again[#again + 1] = back
    end
  end
  return ended
end

-- Apply outcomes that count: end the task, or collect it among those to run again. Either
-- way the engine no longer holds it. `engine` has uuid and label. Returns the collection,
-- in the order reported: id and score, and how to run each again.
local function apply(opened, ending, engine, good, verdict)
  local again, blocks, ended = {}, good.blocks, 0
  if #good == 0 and not blocks then
    return again
  end
  good = leave(engine.uuid, good)
  if blocks then
    ended = apply_blocks(opened, ending, engine, blocks)
  end
  ended = ended + apply_others(opened, ending, engine, good, verdict, again)
  if engine.leaving then
    engines.tell_drained(opened, engine)
  end
  if ended > 0 then
    -- A text costs less than a number, which has to be formatted.
    redis.call("HINCRBY", keys.engine(engine.uuid), "done", ended == 1 and "1" or ended)
  end
  return again
end

return {
  read = read,
  tell_stale = tell_stale,
  apply = apply,
}
