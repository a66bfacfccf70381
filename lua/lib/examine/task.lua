-- task: are a record, what is beside it, and its place consistent?

local engines = require("lib.engines")
local held = require("lib.held")
local keys = require("lib.keys")
local record = require("lib.record")
local settle = require("lib.settle")
local sheet = require("lib.sheet")
local states = require("lib.states")
local waits = require("lib.examine.waits")
local weight = require("lib.weight")
local where = require("lib.examine.where")

-- Longer values are stored beside a record that is a hash of its own.
local COMPACT = 64
-- Every state but the ended ones.
local OPEN = { waiting = true, ready = true, assigned = true, running = true }

local function read(id)
  local flat = record.all(id)
  local f = { id = id }
  for at = 1, #flat, 2 do
    f[flat[at]] = flat[at + 1]
  end
  return #flat > 0 and f or nil
end

local function has_mark(f, letter)
  return string.find(f.marks or "", letter, 1, true) ~= nil
end

local function set_mark(f, letter, is_set)
  return function()
    local key = record.own(f.id)
    local rest = string.gsub(redis.call("HGET", key, "marks") or "", letter, "")
    redis.call("HSET", key, "marks", rest .. (is_set and letter or ""))
    if f.state == "running" then
      held.mark(f.engine, f.id)
    end
  end
end

-- The engine's entry, which its reports are checked against, must have the record's token
-- and say whether it has marks.
local function look_at_fence(f, uuid, note)
  local found = held.read(uuid, { f.id })[1]
  local token = held.parts(found)
  if f.token and token ~= f.token or (f.marks and not held.is_marked(found))
    or held.is_folded(found) ~= record.is_folded(f.id) then
    note("fence", "what its engine says of it is not believed, or not all", function()
      where.set_fence(f, uuid, held.score(f.id, found))
    end)
  end
end

-- Is it in the index of its state, and there on an engine that exists?
local function look_at_place(opened, f, note)
  local index = where.index_of(f)
  if not index then
    note("engine", "it is " .. f.state .. " on no engine", where.restorer(opened, f))
  elseif not where.stands_in(index, f.id) then
    note("place", "it is " .. f.state .. " and does not stand where such tasks do",
      where.restorer(opened, f))
  elseif f.state == "assigned" or f.state == "running" then
    local uuid = engines.uuid_of(f.engine)
    if redis.call("EXISTS", keys.engine(uuid)) == 0 then
      note("engine", "it is " .. f.state .. " on an engine that is no more",
        where.restorer(opened, f))
    elseif f.state == "running" then
      look_at_fence(f, uuid, note)
    end
  end
end

-- One that ended with a retention of its own is listed by its end, too; not one that an
-- earlier release listed.
local function look_at_latest(f, note)
  local score = f.ttl and states.is_ended(f.state)
    and tonumber(redis.call("ZSCORE", keys.ended(f.state), f.id) or 0)
  if score and score % settle.FOREVER >= settle.OWN
    and not redis.call("ZSCORE", keys.latest(f.state), f.id) then
    local stamp = string.match(f.ended or f.started or "", "^%d+") or f.submitted
    note("latest", "it is not listed among the latest", function()
      redis.call("ZADD", keys.latest(f.state), stamp or 0, f.id)
    end)
  end
end

-- Contradictions within a record. Nobody knows which side is right, so most are reported
-- and left.
local function look_at_outcome(f, note)
  local is = "it is " .. f.state
  if (f.result ~= nil) ~= (f.state == "completed") then
    note("result", is .. (f.result and " and has a" or " without a") .. " result")
  end
  if f.error and f.state ~= "failed" then
    note("error", is .. " and has an error")
  end
  if states.is_ended(f.state) and (f.na or f.gate or f.start) then
    note("over", "it has ended and waits", function()
      redis.call("HDEL", keys.task(f.id), "na", "gate", "start")
    end)
  end
end

local function look_at_tries(f, note)
  local tries, retries = tonumber(f.tries or 0), tonumber(f.retries or 0)
  local took = f.state == "running" or f.state == "completed"
  if took and not f.token then
    note("token", "it is " .. f.state .. " without a token")
  elseif f.token and not string.match(f.token, "^%d+:.+$") then
    note("token", "its token is " .. f.token)
  end
  if tries > retries + 1 then
    note("tries", "it was tried " .. tries .. " times with " .. retries .. " retries")
  end
end

-- Are the parts there that the record says are beside it? Others are found by their keys.
local function look_at_parts(f, note)
  for _, part in ipairs(record.parts()) do
    if f[part] == "" and redis.call("EXISTS", keys.task(f.id, part)) == 0 then
      note("part", "its " .. part .. " is lost")
    end
  end
end

local function look_at_dependents(opened, f, note)
  if not has_mark(f, "d") then
    if redis.call("EXISTS", keys.task(f.id, "dependents")) == 1 then
      note("dependents", "it has dependents, and the record does not say so",
        set_mark(f, "d", true))
    else
      return
    end
  end
  if states.is_ended(f.state) and redis.call("EXISTS", keys.task(f.id, "dependents")) == 1
    and not redis.call("ZSCORE", keys.unsettled, f.id) then
    note("untold", "it has ended, and nobody is to tell its dependents", function()
      redis.call("ZADD", keys.unsettled, opened.stamp, f.id)
      require("lib.rare").set(opened, "u")
      require("lib.timers").alarm(0)
    end)
  end
end

-- A record is either a hash of its own or on the sheet.
local function look_at_sheet(f, note)
  if not record.is_folded(f.id) and sheet.find(f.id) then
    note("twice", "it stands on the sheet as well", function()
      sheet.remove({ f.id })
    end)
  end
end

local function look_at_function(f, note, tally)
  local digest = string.match(f.fn, "^%S+")
  tally("function " .. digest, 1)
  if redis.call("EXISTS", keys.fn(digest)) == 0 then
    note("function", "its function is lost")
  end
end

-- What the record implies about counters elsewhere.
local function add_up(f, tally)
  if f.refs then
    for id in string.gmatch(record.part(f.id, "refs", f.refs) or "", "%S+") do
      tally("kept " .. id, 1)
    end
  end
  if OPEN[f.state] then
    return
  end
  for _, part in ipairs(record.parts()) do
    if f[part] == "" then
      tally("bytes", weight.of_part(f.id, part))
    elseif part == "result" and #(f[part] or "") > COMPACT then
      -- On the sheet.
      tally("bytes", #f[part])
    end
  end
end

local function look(opened, id, note, tally)
  local f = read(id)
  if not f then
    return
  elseif not OPEN[f.state] and not states.is_ended(f.state or "") then
    note("state", "its state is " .. (f.state or "lost"))
    return
  end
  look_at_sheet(f, note)
  if not f.fn then
    waits.look_at_gate(opened, f, note)
  end
  if f.fn or f.ttl then
    look_at_place(opened, f, note)
    look_at_latest(f, note)
  end
  if not f.fn then
    return
  end
  look_at_outcome(f, note)
  look_at_tries(f, note)
  look_at_parts(f, note)
  look_at_function(f, note, tally)
  look_at_dependents(opened, f, note)
  if OPEN[f.state] then
    waits.look(opened, f, note)
  end
  if has_mark(f, "k") ~= (f.kept ~= nil) then
    note("kept", "its mark of being kept is wrong", set_mark(f, "k", f.kept ~= nil))
  end
  add_up(f, tally)
end

-- The run of a task on the sheet.
local function look_at_run(id, note)
  local row, run = sheet.find(id)
  if run and not row then
    note("orphan", "what was submitted of " .. id .. " is lost, and its run takes room",
      function()
        sheet.remove({ id })
      end)
  end
end

-- Something beside a record: "id part". The stream `live` expires by itself.
local function beside(name, note)
  local id, part = string.match(name, "^(%S+) (%S+)$")
  if part == "run" then
    look_at_run(id, note)
  elseif id and part ~= "live" and redis.call("EXISTS", keys.task(id)) == 0
    and redis.call("EXISTS", keys.task(id, part)) == 1 then
    note("orphan", "there is no task " .. id .. ", and its " .. part .. " takes room", function()
      redis.call("UNLINK", keys.task(id, part))
    end)
  end
end

return {
  look = look,
  beside = beside,
}
