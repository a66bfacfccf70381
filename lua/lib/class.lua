-- class: ready tasks that not every engine of their queue may take.
--
-- A class is a set of engines: "=0-2" only these, "!3" all but these, "" any (no class).
-- Its tasks have a line of their own, and an engine finds the lines it may take from in
-- two sorted sets: its own, of classes that name few engines, and its queue's, of those
-- that name many. Both are scored by a lower bound of the line's head, corrected by
-- whoever finds it wrong, so it costs nothing while tasks come and go.
--
-- Beyond MOST classes of the second kind further tasks share one line, "?", and the
-- record says who may take them.

local batches = require("lib.batches")
local keys = require("lib.keys")
local ranges = require("lib.ranges")
local rare = require("lib.rare")

-- Most classes of a queue that are known to all its engines.
local MOST = 64
-- A class of at most this many engines is told to each of them.
local FEW = 64
local PICKY = "?"
-- This many classes (and one) are looked at in one go.
local MOST_LOOK = 127
-- Most classes looked at in a set of them.
local MOST_CLASSES = 2000
-- Engines are read so many at a time.
local PIECE = 32

-- By queue and class, an engine that this script has found to serve both.
local servers = {}

-- The class of a task with these constraints, fields of its record: `targets` and
-- `place`, where alone it may run, and `no`, where it must not. "=" is nobody.
local function of(targets, place, no)
  local only = targets or place
  if targets and place then
    only = ranges.both(targets, place)
  end
  if only then
    return "=" .. ranges.minus(only, no or "")
  elseif no and no ~= "" then
    return "!" .. no
  end
  return ""
end

-- The class of a record, counting engines that lack what its function requires: fields
-- `targets`, `place`, `not` and `fn`.
local function of_task(opened, f)
  local no = f["not"]
  local refused = rare.is(opened, "r") and require("lib.functions").refused(opened, f.fn)
  if refused then
    no = ranges.either(no or "", refused)
  end
  return of(f.targets, f.place, no)
end

local function is_few(class)
  return string.sub(class, 1, 1) == "=" and ranges.count(string.sub(class, 2)) <= FEW
end

local function does_serve(uuid, queue)
  local queues = redis.call("HGET", keys.engine(uuid), "queues")
  return queues and require("lib.queues").has(queues, queue)
end

-- Engines of the class that serve the queue, at most `most` of those in this index: their
-- labels, and uuids by label.
local function serving(index, queue, class, most)
  local found, names = {}, {}
  for low, high in string.gmatch(string.sub(class, 2), "(%d+)%-?(%d*)") do
    local from, piece = 0, math.min(most, PIECE)
    repeat
      local there = redis.call("ZRANGEBYSCORE", index, low, high == "" and low or high,
        "WITHSCORES", "LIMIT", from, piece)
      for at = 1, #there, 2 do
        if does_serve(there[at], queue) then
          local label = tonumber(there[at + 1])
          found[#found + 1], names[label] = label, there[at]
          if #found >= most then
            return found, names
          end
        end
      end
      local is_last = #there < 2 * piece
      from, piece = from + #there / 2, PIECE
    until is_last
  end
  return found, names
end

-- Labels of the living ones.
local function living(queue, class, most)
  return (serving(keys.labels, queue, class, most))
end

-- Is there an engine that may take it, or may one join?
local function is_possible(queue, class)
  if string.sub(class, 1, 1) ~= "=" then
    return true
  end
  local at = queue .. ":" .. class
  if servers[at] and redis.call("ZSCORE", keys.labels, servers[at]) then
    return true
  end
  local labels, names = serving(keys.labels, queue, class, 1)
  servers[at] = names[labels[1]]
  return servers[at] ~= nil
end

-- Engines of a class that names few, with room in this free set: uuids, in the order of
-- their ranks, and the scores of these.
local function with_room(free, class)
  local found, uuids, scores = {}, {}, {}
  for low, high in string.gmatch(string.sub(class, 2), "(%d+)%-?(%d*)") do
    for _, uuid in ipairs(redis.call("ZRANGEBYSCORE", keys.labels, low,
      high == "" and low or high)) do
      local score = redis.call("ZSCORE", free, uuid)
      if score then
        found[#found + 1] = { uuid = uuid, score = score }
      end
    end
  end
  table.sort(found, function(one, other)
    local mine, theirs = tonumber(one.score), tonumber(other.score)
    return mine < theirs or mine == theirs and one.uuid < other.uuid
  end)
  for at, one in ipairs(found) do
    uuids[at], scores[at] = one.uuid, one.score
  end
  return uuids, scores
end

-- May the engine with this label take tasks of this class?
local function admits(class, label)
  if class == "" then
    return true
  end
  return ranges.has(string.sub(class, 2), label) == (string.sub(class, 1, 1) == "=")
end

-- The line for tasks of this class: its own, or "?" when there are too many already.
local function line_of(queue, class)
  if class == "" or is_few(class) then
    return class
  end
  local known = keys.classes(queue)
  if string.sub(class, 1, 1) == "=" or redis.call("ZSCORE", known, class)
    or redis.call("ZCARD", known) < MOST then
    return class
  end
  return PICKY
end

-- Let the engines find the line, whose head is at most `score`.
local function tell(opened, queue, class, score)
  if is_few(class) then
    -- Also engines being taken apart: they may turn out to be alive.
    for _, index in ipairs({ keys.labels, keys.hidden }) do
      local _, names = serving(index, queue, class, FEW)
      for _, uuid in pairs(names) do
        redis.call("ZADD", keys.engine(uuid, "classes"), "LT", score, queue .. ":" .. class)
        redis.call("HSET", keys.engine(uuid), "tied", 1)
        opened.ties = opened.ties or {}
        opened.ties[uuid] = true
      end
    end
    return
  end
  rare.set(opened, "c")
  if class ~= PICKY then
    redis.call("ZADD", keys.classes(queue), "LT", score, class)
  end
end

-- Put tasks of a class into their line: flat score, id, score, id ... Their records
-- already say which it is.
local function add(opened, queue, class, entries)
  local key = keys.ready(queue, class)
  batches.zadd(key, entries)
  redis.call("HINCRBY", keys.apart, queue, #entries / 2)
  tell(opened, queue, class, redis.call("ZRANGE", key, 0, 0, "WITHSCORES")[2])
end

-- `count` tasks have left class lines of this queue.
local function left(queue, count)
  if redis.call("HINCRBY", keys.apart, queue, -count) <= 0 then
    redis.call("HDEL", keys.apart, queue)
    -- What nobody has looked at again says nothing any more.
    redis.call("UNLINK", keys.classes(queue))
  end
end

return {
  PICKY = PICKY,
  MOST_LOOK = MOST_LOOK,
  MOST_CLASSES = MOST_CLASSES,
  of_task = of_task,
  is_possible = is_possible,
  admits = admits,
  with_room = with_room,
  line_of = line_of,
  add = add,
  tell = tell,
  left = left,
  is_few = is_few,
  living = living,
}
