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
-- `later`. A member given twice counts once. `late`: the gate is open, or the task has
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

local function parse()
  local ids, seen = {}, {}
  for at = IDS, #ARGV do
    if not argument.is_id(ARGV[at]) then
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
  return ids and #ids <= MOST and (name == "after" or name == "follow")
end

local function main(opened)
  local ids = parse()
  if not is_right(ids) then
    return reply.fail("BADARG", "link takes a task, a set and at most " .. MOST .. " ids")
  end
  local task = argument.is_id(id) and depend.read(id)
  if not task then
    return reply.fail("NOTASK", "No such task: " .. id)
  end
  local letters = string.match(task[name == "after" and "na" or "nf"] or "", "^%a+")
  if task.state ~= "waiting" or not task.gate or not letters then
    return { "late", 0 }
  end

  -- Writes below. The first is refused at maxmemory.
  redis.call("HINCRBY", keys.hub, "linked", #ids)
  task.score = redis.call("ZSCORE", keys.waiting, id)
  local ending = settle.begin(opened)
  local why, verdict = depend.look(opened, task, name, { letters = letters, ids = ids })
  depend.save(task)
  if why then
    finish.task(opened, ending, task, "failed", verdict, why)
  end
  cascade.run(opened, ending)
  settle.close(ending)
  hold.advance(opened)
  return { "ok", #ids }
end

return hub.run(main)
