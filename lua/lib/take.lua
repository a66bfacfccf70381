-- take: an engine takes work.
--
-- MOVES    assigned>running ready>running

local keys = require("lib.keys")
local batches = require("lib.batches")
local engines = require("lib.engines")
local line = require("lib.line")
local states = require("lib.states")
local story = require("lib.story")

local take = {}

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

local function describe(taken, id, token, f, args)
  local at = #taken
  taken[at + 1] = id
  taken[at + 2] = token
  taken[at + 3] = f[1]
  taken[at + 4] = args
  taken[at + 5] = f[3] or ""
  taken[at + 6] = f[4] or ""
  return taken
end

-- The record's fields that an engine needs: the function, its arguments (an
-- empty string: they stand beside the record), and what the signature binds.
local function read(id)
  return redis.call("HMGET", keys.task(id), "fn", "args", "root", "until", "tries")
end

local function arguments(id, f, budget)
  if f[2] ~= "" then
    return f[2], budget
  end
  local size = redis.call("STRLEN", keys.task(id, "args"))
  if size > budget then
    return "", budget
  end
  return redis.call("GET", keys.task(id, "args")), budget - size
end

-- Replies flat: id, token, fn, args, root, until for each task.
local function start(opened, engine, nonce, popped, from, budget, taken)
  local held = {}
  for at = 1, #popped, 2 do
    local id, score = popped[at], popped[at + 1]
    local f = read(id)
    if f[1] then
      states.check(from, "running")
      local token = (tonumber(f[5] or 0) + 1) .. ":" .. nonce
      local args
      args, budget = arguments(id, f, #taken == 0 and math.huge or budget)
      redis.call("HSET", keys.task(id), "state", "running",
        "engine", engine.uuid, "engine_id", engine.id, "token", token,
        "started", opened.stamp)
      held[#held + 1] = score
      held[#held + 1] = id
      describe(taken, id, token, f, args)
      budget = math.min(budget, MOST_BYTES)
    else
      -- Somebody deleted the record by hand: the others must go on.
      story.tell(opened, "corrupt", "task", id)
    end
  end
  batches.call("ZADD", keys.engine(engine.uuid, "held"), held)
  return budget
end

-- The engine takes what was placed on it, then the best it may have. Returns the
-- flat reply and whether anything was taken.
function take.tasks(opened, engine, nonce, want)
  local taken, budget = {}, MOST_BYTES
  want = allowance(opened, engine.uuid, want)
  if want == 0 then
    return taken
  end
  local placed = redis.call("ZPOPMIN", keys.engine(engine.uuid, "assigned"), want)
  if #placed > 0 then
    budget = start(opened, engine, nonce, placed, "assigned", budget, taken)
    want = want - #placed / 2
  end
  if want > 0 then
    local more = share(engine.queues, want)
    if more > 0 then
      local popped = line.pop(engine.queues, more)
      start(opened, engine, nonce, popped, "ready", budget, taken)
    end
  end
  if #taken > 0 then
    engines.use(engine)
  end
  return taken
end

-- What this engine took in the turn with this nonce, once more: the reply to
-- that turn was lost.
function take.repeated(engine, nonce)
  local taken, budget = {}, math.huge
  local ids = redis.call("ZRANGE", keys.engine(engine.uuid, "held"), 0, -1)
  for _, id in ipairs(ids) do
    local token = redis.call("HGET", keys.task(id), "token")
    if token and string.sub(token, -#nonce - 1) == ":" .. nonce then
      local f = read(id)
      local args
      args, budget = arguments(id, f, budget)
      describe(taken, id, token, f, args)
      budget = math.min(budget, MOST_BYTES)
    end
  end
  return taken
end

return take
