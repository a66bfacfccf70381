-- attempts: a task's failed attempts, and the engines that refused it, on record.
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

-- Add one line: token, engine, began and ended (ms), what went wrong. They are separated
-- by tabs, so `what` comes last and may contain anything.
local function note(opened, id, token, engine, started, what)
  push(keys.task(id, "attempts"),
    table.concat({ token, engine, started or "", opened.stamp, what }, "\t"))
end

-- Add one line: label of the engine, and its words.
local function refuse(id, label, words)
  push(keys.task(id, "refusals"), label .. "\t" .. words)
  redis.call("HINCRBY", keys.task(id), "refusals", 1)
end

return {
  note = note,
  refuse = refuse,
}
