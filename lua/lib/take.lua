-- take: an engine takes work.
--
-- MOVES    assigned>running ready>running

local keys = require("lib.keys")
local batches = require("lib.batches")
local engines = require("lib.engines")
local line = require("lib.line")
local states = require("lib.states")

-- No turn gives more than this, so that no script holds Redis for long.
local MOST = 500
-- Arguments in one reply beyond the first task's; the engine fetches larger ones.
local MOST_BYTES = 1048576

-- Guided self-scheduling (Polychronopoulos & Kuck, IEEE Trans. Computers C-36,
-- 1987): no engine takes more than its half share of what is left, so that the
-- last tasks spread over all engines.
local function share(queues, want)
  if want <= 1 then
    return want
  end
  local serving = 0
  for _, queue in ipairs(queues) do
    serving = math.max(serving, tonumber(redis.call("HGET", keys.queues, queue)) or 1)
  end
  local fair = math.floor(line.length(queues) / (2 * serving))
  return math.max(1, math.min(want, fair))
end

-- How many this engine may take now.
local function allowance(opened, uuid, want)
  want = math.min(want, MOST)
  if opened.hwm > 0 then
    want = math.min(want, opened.hwm - redis.call("ZCARD", keys.engine(uuid, "held")))
  end
  return math.max(0, want)
end

-- The record's fields that an engine needs: the function, its arguments (empty
-- when they stand beside the record), and what the signature binds.
local function read(id)
  return redis.call("HMGET", keys.task(id), "fn", "args", "root", "tries")
end

-- The arguments for the reply. With a budget, longer ones are left to the engine.
local function arguments(id, inline, budget)
  if inline ~= "" then
    return inline, budget
  end
  local key = keys.task(id, "args")
  if budget then
    local size = redis.call("STRLEN", key)
    if size > budget then
      return "", budget
    end
    budget = budget - size
  end
  return redis.call("GET", key) or "", budget
end

local function describe(taken, id, attempt, f, args)
  local at = taken.length
  taken.length = at + 5
  taken[at + 1], taken[at + 2], taken[at + 3] = id, attempt, f[1]
  taken[at + 4], taken[at + 5] = args, f[3] or ""
end

-- Replies flat: id, attempt, fn, args, root for each task. The first one's
-- arguments always ride along.
local function start(opened, engine, nonce, popped, from, taken, budget)
  if #popped == 0 then
    return budget
  end
  states.check(from, "running")
  local held, count, name = {}, 0, engines.name_of(engine)
  local started = string.format("%d", opened.stamp)
  local first = "1:" .. nonce
  for at = 1, #popped, 2 do
    local id = popped[at]
    local f = read(id)
    if f[1] then
      local attempt = (f[4] or 0) + 1
      local token = attempt == 1 and first or attempt .. ":" .. nonce
      local args
      args, budget = arguments(id, f[2], taken.length > 0 and budget or nil)
      budget = budget or MOST_BYTES
      redis.call("HSET", keys.task(id), "state", "running", "engine", name,
        "token", token, "started", started)
      held[count + 1], held[count + 2] = popped[at + 1], id
      count = count + 2
      describe(taken, id, attempt, f, args)
    else
      -- Somebody deleted the record by hand: the others must go on.
      require("lib.story").tell(opened, "corrupt", "task", id)
    end
  end
  batches.zadd(keys.engine(engine.uuid, "held"), held)
  return budget
end

-- The engine takes what was placed on it, then the best it may have. Returns the
-- flat reply and whether anything was taken.
local function tasks(opened, engine, nonce, want)
  local taken, budget = { length = 0 }, MOST_BYTES
  want = allowance(opened, engine.uuid, want)
  if want == 0 then
    return taken
  end
  local placed = redis.call("ZPOPMIN", keys.engine(engine.uuid, "assigned"), want)
  budget = start(opened, engine, nonce, placed, "assigned", taken, budget)
  want = want - #placed / 2
  if want > 0 then
    local popped = line.pop(engine.queues, share(engine.queues, want))
    start(opened, engine, nonce, popped, "ready", taken, budget)
  end
  if #taken > 0 then
    engines.use(engine)
  end
  return taken
end

-- What this engine took in the turn with this nonce, once more: the reply to
-- that turn was lost.
local function repeated(engine, nonce)
  local taken, budget = { length = 0 }, nil
  local ids = redis.call("ZRANGE", keys.engine(engine.uuid, "held"), 0, -1)
  for _, id in ipairs(ids) do
    local attempt, of = string.match(
      redis.call("HGET", keys.task(id), "token") or "", "^(%d+):(.*)$")
    if of == nonce then
      local f = read(id)
      local args
      args, budget = arguments(id, f[2], budget)
      budget = budget or MOST_BYTES
      describe(taken, id, tonumber(attempt), f, args)
    end
  end
  return taken
end

return {
  tasks = tasks,
  repeated = repeated,
}
