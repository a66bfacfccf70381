-- keys: the name of every key of a hub.
--
-- KEYS[1] is the root, `{redtask:NAME}`: prefix and hash tag of them all, and
-- the only key a script is given. No other file puts a key name together.

local root = KEYS[1]

local task = root .. ":task:"
local engine = root .. ":engine:"

-- The record; with a part (args, result, error, stdout, stderr, attempts,
-- watchers) the string, list or set that stands beside it.
local function task_key(id, part)
  if part then
    return task .. id .. ":" .. part
  end
  return task .. id
end

-- The engine; with a part (bell, assigned, held) what stands beside it.
local function engine_key(uuid, part)
  if part then
    return engine .. uuid .. ":" .. part
  end
  return engine .. uuid
end

local function fn_key(digest)
  return root .. ":fn:" .. digest
end

local function ready_key(class)
  return root .. ":ready:" .. class
end

local function free_key(queue)
  return root .. ":free:" .. queue
end

local function ended_key(state)
  return root .. ":ended:" .. state
end

local function done_key(client)
  return root .. ":done:" .. client
end

local function worker_key(name)
  return root .. ":worker:" .. name
end

return {
  hub = root .. ":hub",
  engines = root .. ":engines",
  queues = root .. ":queues",
  unranked = root .. ":unranked",
  scheme = root .. ":scheme",
  idle_functions = root .. ":functions:idle",
  story = root .. ":story",
  task = task_key,
  engine = engine_key,
  fn = fn_key,
  ready = ready_key,
  free = free_key,
  ended = ended_key,
  done = done_key,
  worker = worker_key,
}
