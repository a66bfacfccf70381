-- keys: the name of every key of a hub.
--
-- KEYS[1] is the root, `{redtask:NAME}`: prefix and hash tag of all keys, and the only
-- key given to a script. No other file builds a key name.

local root = KEYS[1]

local task = root .. ":task:"
local engine = root .. ":engine:"

-- A record; with a part (args, result, error, stdout, stderr, after, follow, targets,
-- refs, attempts, refusals, watchers, dependents, live) what is stored beside it.
local function task_key(id, part)
  if part then
    return task .. id .. ":" .. part
  end
  return task .. id
end

-- A parcel: a task's arguments; with a token, the result of that attempt.
local function parcel_key(id, token)
  if token then
    return root .. ":parcel:" .. id .. ":" .. token
  end
  return root .. ":parcel:" .. id
end

-- An engine; with a part (bell, assigned, held, classes) what is stored beside it.
local function engine_key(uuid, part)
  if part then
    return engine .. uuid .. ":" .. part
  end
  return engine .. uuid
end

local function fn_key(digest)
  return root .. ":fn:" .. digest
end

-- The line of a queue; with a class, of tasks that not every engine of it may take.
local function ready_key(queue, class)
  if class and class ~= "" then
    return root .. ":ready:" .. queue .. ":" .. class
  end
  return root .. ":ready:" .. queue
end

local function classes_key(queue)
  return root .. ":classes:" .. queue
end

local function free_key(queue)
  return root .. ":free:" .. queue
end

local function ended_key(state)
  return root .. ":ended:" .. state
end

-- Of those, the ones with a retention of their own, by when they ended.
local function latest_key(state)
  return root .. ":latest:" .. state
end

-- Answers to an order, by its nonce.
local function answer_key(nonce)
  return root .. ":answer:" .. nonce
end

local function done_key(client)
  return root .. ":done:" .. client
end

-- The greatest number that a client has given a task.
local function newest_key(client)
  return root .. ":newest:" .. client
end

-- A key by its name without the root, for callers that were given that.
local function named_key(name)
  return root .. ":" .. name
end

-- A worker's card; with a part (control) what is stored beside it.
local function worker_key(name, part)
  if part then
    return root .. ":worker:" .. name .. ":" .. part
  end
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
  labels = root .. ":labels",
  hidden = root .. ":hidden",
  waiting = root .. ":waiting",
  unsettled = root .. ":unsettled",
  timers = root .. ":timers",
  alarm = root .. ":alarm",
  gone = root .. ":gone",
  rows = root .. ":rows",
  runs = root .. ":runs",
  paused = root .. ":paused",
  apart = root .. ":apart",
  task = task_key,
  parcel = parcel_key,
  engine = engine_key,
  fn = fn_key,
  ready = ready_key,
  classes = classes_key,
  free = free_key,
  ended = ended_key,
  latest = latest_key,
  done = done_key,
  newest = newest_key,
  answer = answer_key,
  worker = worker_key,
  named = named_key,
}
