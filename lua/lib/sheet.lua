-- sheet: the records of many plain tasks in two hashes of the hub.
--
-- A task of a large map needs no hash of its own while nothing befalls it but that it
-- waits in its line, runs and ends well. What was submitted of it, its row, stands in
-- R:rows; since it began, what became of it, its run, in R:runs. So what a slice or a
-- turn has to say of hundreds of tasks is one command, and no function is called for
-- each of them. As soon as there is more to say of a task, lib/record.lua unfolds it.
--
-- A row is "<score> <submitted> <length>:", fields and arguments. Fields are those of the
-- record that the tasks of a group have in common, the function first, of that length:
-- "<length>:<name><length>:<value>" for each. A run is "<token> = <engine> <started> =",
-- which is also what the engine holds (lib/held.lua); or what lib/folded.lua makes of an
-- outcome: "c", engine, token, started, took, repr and result, parted by NUL; or of an
-- abort: "a", when it was, and verdict and reason.
-- Python reads both (redtask/hub/sheet.py).

local batches = require("lib.batches")
local keys = require("lib.keys")

-- Arguments and results up to this size stand there.
local MOST = 1024

-- Seldom: what stands between the score and the arguments in all rows of a group: `fields` is
-- flat.
local function head_of(stamp, fields)
  local parts = {}
  for at, text in ipairs(fields) do
    parts[at] = string.format("%d:%s", #text, text)
  end
  local common = table.concat(parts)
  return string.format(" %d %d:%s", stamp, #common, common)
end

-- Seldom: the score of a row, when it was submitted, its fields as one text, and its arguments.
local function open(row)
  local score, submitted, length, from = string.match(row, "^(%-?%d+) (%d+) (%d+):()")
  return score, submitted, string.sub(row, from, from + length - 1),
    string.sub(row, from + length)
end

-- Seldom: names and values, flat, that stand in the text that the rows of a group have in
-- common, behind what `flat` has.
local function texts(common, flat)
  local at = 1
  while at <= #common do
    local length, from = string.match(common, "^(%d+):()", at)
    at = from + length
    flat[#flat + 1] = string.sub(common, from, at - 1)
  end
  return flat
end

-- Seldom: the function and the arguments of a row.
local function read(row)
  local _, _, common, args = open(row)
  local length, from = string.match(common, "^2:fn(%d+):()")
  return string.sub(common, from, from + length - 1), args
end

-- What this script has found in texts that rows have in common.
local commons = {}

-- Seldom: the function of a row, and the queue in whose line its task waits.
local function line_of(row)
  local _, _, common = open(row)
  local one = commons[common]
  if not one then
    one = { queue = "default" }
    local flat = texts(common, {})
    for at = 1, #flat, 2 do
      one[flat[at]] = flat[at + 1]
    end
    commons[common] = one
  end
  return one.fn, one.queue
end

-- Seldom: what an engine holds of tasks that it took in one turn, and their run.
local function begun(token, engine, started)
  return token .. " = " .. engine .. " " .. started .. " ="
end

-- Seldom: row and run of a task; false where there is none.
local function find(id)
  return redis.call("HGET", keys.rows, id), redis.call("HGET", keys.runs, id)
end

-- Seldom: tasks leave the sheet.
local function remove(ids)
  batches.each("HDEL", keys.rows, ids)
  batches.each("HDEL", keys.runs, ids)
end

-- Seldom: the run of tasks that end without having begun.
local function verdict(stamp, words)
  return string.format("a\0%d\0%s", stamp, words)
end

-- Seldom: how many bytes the result in a run has.
local function size_of(run)
  local from = string.match(run, "^c%z[^%z]*%z[^%z]*%z[^%z]*%z[^%z]*%z[^%z]*%z()")
  return from and #run - from + 1 or 0
end

-- Seldom: the fields that a run adds, flat.
local function fields_of_run(run)
  local token, engine, started = string.match(run, "^(%S+) = (%S+) (%S+) =$")
  if token then
    return { "running", "token", token, "engine", engine, "started", started }
  end
  local ended, word, reason = string.match(run, "^a%z(%d+)%z(%S+) (.*)$")
  if ended then
    return { "aborted", "verdict", word, "ended", ended, "reason", reason }
  end
  local engine_of, token_of, heard, took, repr, from = string.match(run,
    "^c%z([^%z]*)%z([^%z]*)%z([^%z]*)%z([^%z]*)%z([^%z]*)%z()")
  return {
    "completed", "token", token_of, "engine", engine_of, "started", heard, "took", took,
    "repr", repr, "result", string.sub(run, from),
  }
end

-- Seldom: the fields of a record that stands here, flat.
local function unpacked(row, run)
  local _, submitted, common, args = open(row)
  local fields = texts(common, { "state", "ready", "submitted", submitted, "args", args })
  if run then
    local more = fields_of_run(run)
    fields[2] = more[1]
    for place = 2, #more do
      fields[#fields + 1] = more[place]
    end
  end
  return fields
end

return {
  MOST = MOST,
  head_of = head_of,
  read = read,
  line_of = line_of,
  begun = begun,
  verdict = verdict,
  find = find,
  remove = remove,
  size_of = size_of,
  unpacked = unpacked,
}
