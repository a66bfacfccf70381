-- tryout: does a scheme do what a scheme must? Run on a user's own before it is used.
--
-- Not a command: it is bundled with the scheme in question while the hub uses another,
-- and leaves everything as it was.
--
-- KEYS     root
-- RETURNS  {"ok" | "bad", sentence}

local keys = require("lib.keys")

-- No queue can have this name.
local FREE = keys.free("*")
local NAMES = { "engine-a", "engine-b", "engine-c" }
-- A random scheme may be right by chance.
local ROUNDS = 20

local function complain(...)
  error(string.format(...), 0)
end

local function check_table(scheme)
  if type(scheme) ~= "table" then
    complain("it must return a table with score and choose, not a %s", type(scheme))
  end
  for _, name in ipairs({ "score", "choose" }) do
    if type(scheme[name]) ~= "function" then
      complain("the table it returns must have a function %s", name)
    end
  end
  for name in pairs(scheme) do
    if name ~= "score" and name ~= "choose" then
      complain("the table it returns must have nothing but score and choose, not %s",
        tostring(name))
    end
  end
end

local function check_score(scheme)
  for _, load in ipairs({ 0, 1, 100000 }) do
    for _, used in ipairs({ 0, 1, 1000000 }) do
      local found = scheme.score(load, used)
      if type(found) ~= "number" or found ~= found or math.abs(found) == math.huge then
        complain("score(%d, %d) must be a number, not %s", load, used, tostring(found))
      end
    end
  end
end

local function check_choice(scheme, wanted, admits, what)
  for _ = 1, ROUNDS do
    local found = scheme.choose(FREE, admits)
    if not (found == nil and next(wanted) == nil or found ~= nil and wanted[found]) then
      complain("choose %s, not %s", what, tostring(found))
    end
  end
end

local function check_choose(scheme)
  local all = {}
  check_choice(scheme, all, nil, "of an empty set must be nil")
  for at, name in ipairs(NAMES) do
    redis.call("ZADD", FREE, scheme.score(at - 1, 10 - at), name)
    all[name] = true
    check_choice(scheme, all, nil, "must be an engine of the set")
  end
  for _, name in ipairs(NAMES) do
    check_choice(scheme, { [name] = true }, function(uuid)
      return uuid == name
    end, "must be the only engine that admits lets in")
  end
  check_choice(scheme, {}, function()
    return false
  end, "must be nil where admits lets no engine in")
end

local function check()
  local scheme = require("scheme")
  check_table(scheme)
  check_score(scheme)
  check_choose(scheme)
end

local before = redis.call("HGET", keys.hub, "dice")
local fine, why = pcall(check)
redis.call("UNLINK", FREE)
if before then
  redis.call("HSET", keys.hub, "dice", before)
else
  redis.call("HDEL", keys.hub, "dice")
end
if fine then
  return { "ok", "" }
end
-- Redis 7 raises errors as tables.
return { "bad", type(why) == "table" and tostring(why.err) or tostring(why) }
