-- work: tasks that an engine takes start running.
--
-- MOVES    assigned>running ready>running waiting>running

local engines = require("lib.engines")
local held = require("lib.held")
local keys = require("lib.keys")
local lots = require("lib.lots")
local sheet = require("lib.sheet")
local states = require("lib.states")

-- Longer arguments the engine fetches: a plain read costs a twentieth of a script's.
local MOST_RIDING = 16384
-- Most bytes of arguments in a bell.
local MOST_RUNG = 4096

-- The row of a task on the sheet; else nil and what an engine needs of its record: the
-- function, its arguments (empty if stored beside the record), and marks, which tell of
-- more. `written` has those of records made by this very call. If the last task was on
-- the sheet, the next is looked for there first.
local function read(opened, id)
  local f = opened.written and opened.written[id]
  local row = f and f.row or not f and opened.folds and redis.call("HGET", keys.rows, id)
  if row then
    return row
  end
  f = f or redis.call("HMGET", keys.task(id), "fn", "args", "marks")
  if f[1] then
    return nil, f
  end
  return redis.call("HGET", keys.rows, id), f
end

-- Seldom: for a task with marks, the number of its next attempt, and what its signature
-- binds if that is not its id.
local function history(id, marks)
  if not string.find(marks, "[af]") then
    return 1, ""
  end
  local f = redis.call("HMGET", keys.task(id), "tries", "root")
  return (f[1] or 0) + 1, f[2] or ""
end

-- Seldom: it no longer waits, so its waiting budget stands still.
local function stop_budget(opened, id, marks)
  if not string.find(marks, "o", 1, true) then
    return
  end
  local timers = require("lib.timers")
  local rest = timers.stop(opened, "t", id)
  if rest then
    redis.call("HSET", keys.task(id), "left", rest)
  end
end

-- Seldom: arguments stored beside the record, for the reply; "" if they are longer than
-- `most`. Only those with the mark b are over 1 KiB.
local function arguments(id, marks, most)
  local key = keys.task(id, "args")
  if marks and string.find(marks, "b", 1, true) and redis.call("STRLEN", key) > most then
    return ""
  end
  return redis.call("GET", key) or ""
end

local function describe(taken, id, attempt, fn, args, root)
  local at = taken.length
  taken.length = at + 5
  taken[at + 1], taken[at + 2], taken[at + 3] = id, attempt, fn
  taken[at + 4], taken[at + 5] = args, root
end

-- Seldom: start a task on the sheet. Returns what the engine holds of it.
local function begin_folded(taken, id, row, token, name, started)
  local fn, args = sheet.read(row)
  local run = sheet.begun(token, name, started)
  redis.call("HSET", keys.runs, id, run)
  -- This script may have read it while it was ready, and be about to mark it.
  require("lib.record").forget(id)
  describe(taken, id, 1, fn, args, sheet.FOLDED)
  return run
end

-- Seldom: a task with marks has begun; note it if it has dependents.
local function note_marked(taken, id, score, marks, engine, token)
  if string.find(marks, "l", 1, true) then
    require("lib.live").begun(id, engine.uuid, token)
  end
  if string.find(marks, "d", 1, true) then
    taken.parents = taken.parents or {}
    taken.parents[#taken.parents + 1], taken.parents[#taken.parents + 2] = id, score
  end
end

-- Start tasks and add them to the reply: id, attempt, fn, args, root for each; the engine
-- fetches arguments longer than `most`.
local function begin(opened, engine, nonce, popped, from, taken, most)
  local is_along = from == "waiting"
  if #popped == 0 then
    return
  end
  states.check(from, "running")
  local entries, count, name = {}, 0, engines.name_of(engine)
  local started = string.format("%d", opened.stamp)
  local first = "1:" .. nonce
  local fence = first .. " "
  for at = 1, #popped, 2 do
    local id, entry = popped[at], nil
    local row, f = read(opened, id)
    if row then
      entry = begin_folded(taken, id, row, first, name, started)
    elseif f[1] then
      local args, marks = f[2], f[3]
      local attempt, root, token, before = 1, "", first, fence
      if marks then
        attempt, root = history(id, marks)
        stop_budget(opened, id, marks)
      end
      if attempt > 1 then
        token = attempt .. ":" .. nonce
        before = token .. " "
      end
      if args == "" then
        args = arguments(id, marks, most)
      end
      redis.call("HSET", keys.task(id), "state", "running", "engine", name,
        "token", token, "started", started)
      entry = held.entry(before, popped[at + 1], marks, is_along)
      describe(taken, id, attempt, f[1], args, root)
      if marks then
        note_marked(taken, id, popped[at + 1], marks, engine, token)
      end
    else
      -- Somebody deleted the record by hand: the others must go on.
      require("lib.story").tell(opened, "corrupt", "task", id)
    end
    if entry then
      entries[count + 1], entries[count + 2] = id, entry
      count = count + 2
    end
  end
  held.add(engine.uuid, entries)
end

-- Seldom: start what the engine takes along with what it has just started (lib/along.lua),
-- at most `more`.
local function start_along(opened, engine, nonce, taken, more)
  local along = require("lib.along")
  local chosen = along.choose(opened, engine.queues[1], taken.parents, more)
  if #chosen == 0 then
    return
  end
  along.leave(chosen)
  local before = taken.length
  begin(opened, engine, nonce, chosen, "waiting", taken, MOST_RIDING)
  for at = before + 2, taken.length, 5 do
    taken[at] = -taken[at]
  end
end

-- Start what was placed on the engine, then what it took from the line: flat id, score;
-- and take along at most `more` of what waits for these. Returns the reply.
local function start(opened, engine, nonce, placed, popped, more)
  local taken = { length = 0 }
  begin(opened, engine, nonce, placed, "assigned", taken, MOST_RIDING)
  begin(opened, engine, nonce, popped, "ready", taken, MOST_RIDING)
  if taken.parents and more > 0 then
    start_along(opened, engine, nonce, taken, more)
  end
  return taken
end

-- The run of tasks on the sheet that an engine takes now, their first try.
local function run_of(opened, engine, nonce)
  return sheet.begun("1:" .. nonce, engines.name_of(engine), string.format("%d", opened.stamp))
end

-- Seldom: start the first `want` of a line, if they are several and all on the sheet.
-- Returns their ids and rows; else nil, and nothing was done.
local function start_folded(opened, engine, nonce, line, want)
  local ids = redis.call("ZRANGE", line, 0, want - 1)
  local rows = ids[2] and redis.call("HMGET", keys.rows, unpack(ids))
  if not rows then
    return nil
  end
  local run = run_of(opened, engine, nonce)
  local runs, at = {}, 1
  for number = 1, #ids do
    if not rows[number] then
      return nil
    end
    runs[at], runs[at + 1] = ids[number], run
    at = at + 2
  end
  states.check("ready", "running")
  redis.call("ZREMRANGEBYRANK", line, 0, #ids - 1)
  redis.call("HSET", keys.runs, unpack(runs))
  if not lots.add(engine.uuid, "1:" .. nonce, run, ids) then
    -- It has not reported what it took before under this nonce.
    held.add(engine.uuid, runs)
  end
  return { ids, rows }
end

-- Note that the next turn of an idle engine, under the nonce named for that, has brought it
-- this task, and send it the task in its bell, so that the engine need not ask; if the
-- ring is lost it asks with that nonce, and is told again.
local function ring_with(opened, engine, id, attempt, fn, root, args)
  engines.use(engine)
  redis.call("HSET", keys.engine(engine.uuid), "number", engine.number + 1,
    "nonce", engine.next, "next", "", "used", engine.used)
  engines.show(opened, engine, true)
  -- The arguments come last: they may contain anything.
  redis.call("RPUSH", keys.engine(engine.uuid, "bell"), table.concat({
    engine.next, id, attempt, fn, root, args }, "\n"))
end

-- Push a task to an idle engine that has named a nonce for it.
local function hand_over(opened, engine, id, score)
  local taken = { length = 0 }
  begin(opened, engine, engine.next, { id, score }, "ready", taken, MOST_RUNG)
  ring_with(opened, engine, taken[1], taken[2], taken[3], taken[5], taken[4])
end

-- Start one task on the sheet that was ready, the short way. Returns its run, for the
-- caller to write.
local function start_one(opened, engine, nonce, id)
  states.check("ready", "running")
  local run = run_of(opened, engine, nonce)
  redis.call("HSET", keys.engine(engine.uuid, "held"), id, run)
  return run
end

-- What this engine took in the turn with this nonce, again: the reply to that turn was
-- lost.
local function repeated(opened, engine, nonce)
  local taken = { length = 0 }
  for _, one in ipairs(held.first(engine.uuid)) do
    local id, attempt, of = one.id, string.match(one.token, "^(%d+):(.*)$")
    if of == nonce then
      local row, f = read(opened, id)
      if row then
        local fn, args = sheet.read(row)
        describe(taken, id, 1, fn, args, sheet.FOLDED)
      else
        local args, _, root = f[2], history(id, f[3] or "")
        if args == "" then
          args = arguments(id, f[3], MOST_RIDING)
        end
        attempt = tonumber(attempt)
        describe(taken, id, one.along and -attempt or attempt, f[1], args, root)
      end
    end
  end
  return taken
end

return {
  start = start,
  start_folded = start_folded,
  start_one = start_one,
  ring_with = ring_with,
  hand_over = hand_over,
  repeated = repeated,
}
