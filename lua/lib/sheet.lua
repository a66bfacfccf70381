-- sheet: the records of many plain tasks in two hashes of the hub.
--
-- A plain task needs no hash of its own as long as it just waits in its line, runs and
-- succeeds. What was submitted, its row, is in R:rows; once it has begun, what
-- became of it, its run, is in R:runs. So a slice or a turn writes hundreds of tasks with
-- one command, and calls no function for each. As soon as there is more to say of a task,
-- lib/record.lua unfolds it.
--
-- A row is "<score> <submitted> <length>:", fields of that length, and arguments. The
-- fields are those that the records of a group share, the function first:
-- "<length>:<name><length>:<value>" for each. A run is "<token> = <engine> <started> =",
-- which is also what the engine holds (lib/held.lua); or an outcome as lib/folded.lua
-- writes it: "c", engine, token, started, took, repr and result, separated by NUL; or an
-- abort: "a", its time, and verdict and reason. Python reads both (redtask/hub/sheet.py).

local batches = require("lib.batches")
local keys = require("lib.keys")

-- The root that a reply gives for a task there.
local FOLDED = "="
-- The largest arguments and results stored there.
local MOST = 1024

-- A name or a value, and both of a field, in the text that rows share.
local function sized(text)
  return string.format("%d:%s", #text, text)
end

local function field(name, value)
  return sized(name) .. sized(value)
end

-- What a row has between score and arguments, given its fields as one text.
local function head(stamp, common)
  return string.format(" %d %d:%s", stamp, #common, common)
end

-- Seldom: likewise for a group; `fields` is flat.
local function head_of(stamp, fields)
  local parts = {}
  for at, text in ipairs(fields) do
    parts[at] = sized(text)
  end
  return head(stamp, table.concat(parts))
end

-- A row's score, time of submission, fields as one text, and arguments.
local function open(row)
  local score, submitted, length, from = string.match(row, "^(%-?%d+) (%d+) (%d+):()")
  return score, submitted, string.sub(row, from, from + length - 1),
    string.sub(row, from + length)
end

-- Seldom: append to `flat` the names and values in the text that the rows of a group
-- share.
local function texts(common, flat)
  local at = 1
  while at <= #common do
    local length, from = string.match(common, "^(%d+):()", at)
    at = from + length
    flat[#flat + 1] = string.sub(common, from, at - 1)
  end
  return flat
end

-- The function and the arguments of a row.
local function read(row)
  local _, _, common, args = open(row)
  local length, from = string.match(common, "^2:fn(%d+):()")
  return string.sub(common, from, from + length - 1), args
end

-- What this script has parsed of texts that rows share.
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

-- The run of tasks taken in one turn, which is also what their engine holds.
local function begun(token, engine, started)
  return token .. " = " .. engine .. " " .. started .. " ="
end

-- Seldom: row and run of a task; false where there is none.
local function find(id)
  return redis.call("HGET", keys.rows, id), redis.call("HGET", keys.runs, id)
end

-- Seldom: remove tasks from the sheet.
local function remove(ids)
  batches.each("HDEL", keys.rows, ids)
  batches.each("HDEL", keys.runs, ids)
end

-- Seldom: the run of tasks that end without having begun.
local function verdict(stamp, words)
  return string.format("a\0%d\0%s", stamp, words)
end

-- Seldom: the size of the result in a run, in bytes.
local function size_of(run)
  local from = string.match(run, "^c%z[^%z]*%z[^%z]*%z[^%z]*%z[^%z]*%z[^%z]*%z()")
  return from and #run - from + 1 or 0
end

-- Seldom: the state in a run, and the fields that it adds, flat.
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

-- Seldom: the fields of a record on the sheet, flat.
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
  FOLDED = FOLDED,
  MOST = MOST,
  field = field,
  head = head,
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
