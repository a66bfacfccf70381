-- pick: the best tasks of all lines that an engine may take from.
--
-- For an engine with more than the one line of its one queue: several queues, classes, or
-- functions that it cannot run. Each place is a source with a head; the best head is
-- taken, and only its source is looked at again.

local class = require("lib.class")
local depend = require("lib.depend")
local hold = require("lib.hold")
local keys = require("lib.keys")
local rare = require("lib.rare")

-- How far a turn looks into the line of tasks that are in no class.
local WINDOW = 64
-- How many classes that name few engines are looked at first.
local FIRST_LOOK = 7
-- Most tasks that one turn moves to the class where they belong.
local MOST_MOVES = 100

local function first(queue, name)
  local head = redis.call("ZRANGE", keys.ready(queue, name), 0, 0, "WITHSCORES")
  return head[1], tonumber(head[2])
end

-- Note a task for the line of its class; or, if no engine may take it, for the caller.
local function send(opened, task, queue, right, score)
  if class.is_possible(queue, right) then
    hold.note(opened, task, task.id, score, right)
    return
  end
  require("lib.strays").note(opened, task.id, score)
end

-- The head of a line, if this engine may take it. A task whose function it cannot run, as
-- was found out since it entered, moves to the class where it belongs.
local function admitted(opened, state, queue, name)
  while true do
    local id, score = first(queue, name)
    if not id then
      return nil
    end
    local found = { id = id, score = score, queue = queue, class = name }
    if not rare.is(opened, "r") then
      return found
    end
    local task = depend.read(id)
    local right = task and hold.class_of(opened, task) or name
    if class.admits(right, state.label) then
      return found
    elseif state.moves >= MOST_MOVES then
      opened.looks_on = true
      return nil
    end
    state.moves = state.moves + 1
    redis.call("ZREM", keys.ready(queue, name), id)
    if name ~= "" then
      class.left(queue, 1)
    end
    send(opened, task, queue, right, string.format("%.0f", score))
  end
end

-- The best of `best` and the heads of classes in a sorted set, scored by a lower bound of
-- these. `member` splits a member into queue and class. Also returns how many members
-- left their places: removed, or their bounds corrected.
local function best_of(opened, state, known, members, member, best)
  local moved = 0
  for at = 1, #members, 2 do
    if best and tonumber(members[at + 1]) >= best.score then
      break
    end
    local queue, name = member(members[at])
    local stopped = rare.is(opened, "p") and require("lib.paused").is(opened, queue)
    if not stopped and class.admits(name, state.label) then
      local found = admitted(opened, state, queue, name)
      if not found then
        if redis.call("EXISTS", keys.ready(queue, name)) == 0 then
          redis.call("ZREM", known, members[at])
          moved = moved + 1
        end
      else
        if found.score > tonumber(members[at + 1]) then
          redis.call("ZADD", known, string.format("%.0f", found.score), members[at])
          moved = moved + 1
        end
        if not best or found.score < best.score then
          best = found
        end
      end
    end
  end
  return best, moved
end

-- The best of all classes in such a set, page by page, the first up to rank `last`, as far
-- as `class.MOST_CLASSES`.
local function search(opened, state, known, last, member)
  local at, looked, best = state.passed[known] or 0, 0, nil
  local members, moved
  repeat
    members = redis.call("ZRANGE", known, at, at + last, "WITHSCORES")
    best, moved = best_of(opened, state, known, members, member, best)
    if #members <= 2 * last or best and best.score <= tonumber(members[#members]) then
      -- Nothing behind them is better.
      return best
    end
    looked = looked + last + 1
    -- What was behind the members that left moves up.
    at, last = at + last + 1 - moved, class.MOST_LOOK
    if not best then
      -- Those that keep their places, of paused queues or of others, do so in this turn.
      state.passed[known] = at
    end
  until looked > class.MOST_CLASSES
  if not best and at <= class.MOST_CLASSES then
    opened.looks_on = true
  end
  return best
end

-- The best head of the classes that name few engines, this one among them.
local function own(opened, state)
  local known = keys.engine(state.engine.uuid, "classes")
  -- The first usually have it; they may be empty, or of a paused queue.
  local best = search(opened, state, known, FIRST_LOOK, function(text)
    return string.match(text, "^([^:]+):(.*)$")
  end)
  if not best and redis.call("EXISTS", known) == 0 then
    redis.call("HDEL", keys.engine(state.engine.uuid), "tied")
  end
  return best
end

-- The best head of a queue's classes that name many engines, or that exclude some.
local function shared(opened, state, queue)
  return search(opened, state, keys.classes(queue), class.MOST_LOOK, function(name)
    return queue, name
  end)
end

-- The first task this engine may take of those in no class, in a window that moves on.
local function picky(opened, state, queue)
  local key, engine = keys.ready(queue, class.PICKY), keys.engine(state.engine.uuid)
  local cursor = "cursor " .. queue
  local from = tonumber(redis.call("HGET", engine, cursor) or 0)
  local window = redis.call("ZRANGE", key, from, from + WINDOW - 1, "WITHSCORES")
  for at = 1, #window, 2 do
    local task = depend.read(window[at])
    if class.admits(hold.class_of(opened, task), state.label) then
      return {
        id = window[at], score = tonumber(window[at + 1]), queue = queue,
        class = class.PICKY,
      }
    end
  end
  if #window == 2 * WINDOW then
    redis.call("HSET", engine, cursor, from + WINDOW)
    opened.looks_on = true
  elseif from > 0 then
    redis.call("HDEL", engine, cursor)
  end
  return nil
end

local function sources(opened, engine)
  local found = {}
  local function add(look, queue)
    found[#found + 1] = { look = look, queue = queue }
  end
  for _, queue in ipairs(engine.queues) do
    add(function(state)
      return admitted(opened, state, queue, "")
    end)
    if rare.is(opened, "c") then
      add(function(state)
        return shared(opened, state, queue)
      end)
      if redis.call("EXISTS", keys.ready(queue, class.PICKY)) == 1 then
        add(function(state)
          return picky(opened, state, queue)
        end)
      end
    end
  end
  if engine.tied then
    add(function(state)
      return own(opened, state)
    end)
  end
  return found
end

local function begin(opened, engine)
  local state = { engine = engine, label = tonumber(engine.id), moves = 0, passed = {} }
  local found = sources(opened, engine)
  for _, source in ipairs(found) do
    source.head = source.look(state)
  end
  return state, found
end

local function best_source(found)
  local best
  for _, source in ipairs(found) do
    if source.head and not (best and best.head.score <= source.head.score) then
      best = source
    end
  end
  return best
end

-- The best `count` tasks that the engine may take: flat id, score, id, score ... Sets
-- `opened.looks_on` if it passed over so many that not all could be looked at.
local function pop(opened, engine, count)
  local state, found = begin(opened, engine)
  local popped, left = {}, {}
  while #popped < 2 * count do
    local best = best_source(found)
    if not best then
      break
    end
    local head = best.head
    redis.call("ZREM", keys.ready(head.queue, head.class), head.id)
    popped[#popped + 1] = head.id
    popped[#popped + 1] = string.format("%.0f", head.score)
    if head.class ~= "" then
      left[head.queue] = (left[head.queue] or 0) + 1
    end
    best.head = best.look(state)
  end
  for queue, number in pairs(left) do
    class.left(queue, number)
  end
  hold.flush(opened)
  return popped
end

-- Is there anything that the engine may take, as far as a bounded look can tell?
local function any(opened, engine)
  local _, found = begin(opened, engine)
  hold.flush(opened)
  return best_source(found) ~= nil or opened.looks_on == true
end

return {
  pop = pop,
  any = any,
}
