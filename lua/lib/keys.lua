-- keys: the name of every key of a hub.
--
-- KEYS[1] is the root, `{redtask:NAME}`: prefix and hash tag of them all, and
-- the only key a script is given. No other file puts a key name together.

local root = KEYS[1]

local keys = {
  hub = root .. ":hub",
  engines = root .. ":engines",
  queues = root .. ":queues",
  idle_functions = root .. ":functions:idle",
  story = root .. ":story",
}

local task = root .. ":task:"
local engine = root .. ":engine:"

-- The record; with a part (args, result, error, stdout, stderr, attempts,
-- watchers) the string, list or set that stands beside it.
function keys.task(id, part)
  if part then
    return task .. id .. ":" .. part
  end
  return task .. id
end

-- The engine; with a part (bell, assigned, held, classes) what stands beside it.
function keys.engine(uuid, part)
  if part then
    return engine .. uuid .. ":" .. part
  end
  return engine .. uuid
end

function keys.fn(digest)
  return root .. ":fn:" .. digest
end

function keys.ready(class)
  return root .. ":ready:" .. class
end

function keys.free(queue)
  return root .. ":free:" .. queue
end

function keys.ended(state)
  return root .. ":ended:" .. state
end

function keys.done(client)
  return root .. ":done:" .. client
end

function keys.worker(name)
  return root .. ":worker:" .. name
end

return keys
