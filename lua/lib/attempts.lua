-- attempts: the tries of a task that did not succeed, and who refused it, on record.
--
-- The first and the last nine are kept: how it began and how it went on.

local keys = require("lib.keys")

local KEPT = 10
local GAP = "-"

local function push(key, text)
  if redis.call("RPUSH", key, text) > KEPT then
    redis.call("LSET", key, 1, GAP)
    redis.call("LREM", key, 1, GAP)
  end
end

-- One line: token, engine, began and ended (ms), what went wrong. Tabs part
-- them, so `what` comes last and may hold anything.
local function note(opened, id, token, engine, started, what)
  push(keys.task(id, "attempts"),
    table.concat({ token, engine, started or "", opened.stamp, what }, "\t"))
end

-- One line: label of the engine, and its words.
local function refuse(id, label, words)
  push(keys.task(id, "refusals"), label .. "\t" .. words)
  redis.call("HINCRBY", keys.task(id), "refusals", 1)
end

return {
  note = note,
  refuse = refuse,
}
