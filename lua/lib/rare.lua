-- rare: what most hubs do not have, flagged in one field that every script reads.
--
-- Letters of the hub's field `rare`: c there are tasks that not every engine may take, u
-- ended tasks whose dependents are still to be told, r functions that an engine has
-- refused for good, p paused queues, a tasks that are assigned: placed on an engine and
-- not yet taken. A letter may outlast what it stands for, some for good: r and a.

local keys = require("lib.keys")

local function is(opened, letter)
  return opened.rare and string.find(opened.rare, letter, 1, true) ~= nil
end

local function write(opened, letters)
  opened.rare = letters
  redis.call("HSET", keys.hub, "rare", letters)
end

local function set(opened, letter)
  if not is(opened, letter) then
    write(opened, (opened.rare or "") .. letter)
  end
end

local function clear(opened, letter)
  if is(opened, letter) then
    write(opened, (string.gsub(opened.rare, letter, "")))
  end
end

return {
  is = is,
  set = set,
  clear = clear,
}
