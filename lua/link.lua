-- link: add members to the dependencies of a task behind a gate.
--
-- KEYS     root
-- ARGV     now task set (id)*
-- RETURNS  {"ok" | "late", new}
-- MOVES    -
-- ERRORS   NOHUB SCHEMA SCHEME NOW BADARG NOTASK
-- COST     O(ids * log dependents), at most 2,000 ids
--
-- `set` is after or follow, which the task was submitted with, along with the flag
-- `later`; or refs:<n>, for tasks whose results are among its arguments, after n of these
-- were told. A member told twice counts once. `late`: the gate is open, or the task has
-- ended.

local argument = require("lib.argument")
local cascade = require("lib.cascade")
local depend = require("lib.depend")
local finish = require("lib.finish")
local hold = require("lib.hold")
local hub = require("lib.hub")
local keys = require("lib.keys")
local reply = require("lib.reply")
local settle = require("lib.settle")

local MOST = 2000
-- Index of the first id in ARGV.
local IDS = 4

local id, name = ARGV[2], ARGV[3]
-- How many refs were told before.
local before = argument.count(string.match(name or "", "^refs:(%d+)$"))

local function parse()
  local ids, seen = {}, {}
  for at = IDS, #ARGV do
    -- Nobody can have its own result as an argument.
    if not argument.is_id(ARGV[at]) or before and ARGV[at] == id then
      return nil
    end
    if not seen[ARGV[at]] then
      seen[ARGV[at]] = true
      ids[#ids + 1] = ARGV[at]
    end
  end
  return ids
end

local function is_right(ids)
  return ids and #ids <= MOST and (name == "after" or name == "follow" or before)
end

-- The letters of the set; nil if members can no longer be told.
local function letters_of(task)
  local open = task[name == "follow" and "nf" or "na"]
  return task.state == "waiting" and task.gate and string.match(open or "", "^%a+") or nil
end

-- The task needs the results of these.
local function keep(opened, task, ids)
  if tonumber(task.told or 0) ~= before then
    -- The same call again: its reply was lost.
    return
  end
  local kept = depend.keep_parents(opened, table.concat(ids, " "))
  depend.put(task, "told", string.format("%d", before + #ids))
  if not kept then
    return
  end
  -- What is short may be in the record so far.
  local old = task.refs and task.refs .. " " or ""
  if not task.refs then
    depend.put(task, "marks", (task.marks or "") .. "r")
  end
  depend.put(task, "refs", "")
  redis.call("APPEND", keys.task(id, "refs"), old .. kept)
end

-- The task depends on these. Returns the verdict and why if it can never run.
local function join(opened, task, letters, ids)
  task.score = redis.call("ZSCORE", keys.waiting, id)
  local why, verdict = depend.look(opened, task, name, { letters = letters, ids = ids })
  return why and verdict, why
end

local function main(opened)
  local ids = parse()
  if not is_right(ids) then
    return reply.fail("BADARG", "link takes a task, a set and at most " .. MOST
      .. " ids of others")
  end
  local task = argument.is_id(id) and depend.read(id)
  if not task then
    return reply.fail("NOTASK", "No such task: " .. id)
  end
  local letters = letters_of(task)
  if not letters then
    return { "late", 0 }
  end

  -- Writes below. The first is refused at maxmemory.
  redis.call("HINCRBY", keys.hub, "linked", #ids)
  local ending, verdict, why = settle.begin(opened), nil, nil
  if before then
    keep(opened, task, ids)
  else
    verdict, why = join(opened, task, letters, ids)
  end
  depend.save(task)
  if verdict then
    finish.task(opened, ending, task, "failed", verdict, why)
  end
  cascade.run(opened, ending)
  settle.close(ending)
  hold.advance(opened)
  return { "ok", #ids }
end

return hub.run(main)
