-- resubmit: run ended tasks again, as new tasks, all or none.
--
-- KEYS     root
-- ARGV     now (old new n (field value)*n)*
-- RETURNS  {"ok", new}
-- MOVES    -
-- ERRORS   NOHUB SCHEMA SCHEME NOW BADARG NOTASK PENDING CONFLICT TOOLARGE PURE
-- COST     O((tasks + members) * log ready + bytes), at most 500 tasks, 2,000 members of
--          dependencies and 8 MiB; of one task any
--
-- A new task has the old one's function, arguments and flags, except for the fields given
-- anew: args (signed), until, after, follow, refs; gate; and later, when members are
-- added with `link`. The two are linked: `resubmitted` of the old, `resubmit_of` of the
-- new. Signatures bind the id of the first ancestor, `root`. The call is idempotent; with
-- a final `@again`, for a retry after a lost reply, even if copies were purged meanwhile.

local argument = require("lib.argument")
local copies = require("lib.copies")
local hub = require("lib.hub")
local keys = require("lib.keys")
local record = require("lib.record")
local reply = require("lib.reply")
local scheme_name = require("scheme_name")
local states = require("lib.states")

local MOST = 500
local MOST_BYTES = 8388608
local MOST_MEMBERS = 2000

-- Returns the copies to make: old id, new id, and fields given anew; or nil and what is
-- wrong, in words.
local function parse()
  local wanted, at, last = {}, 2, #ARGV
  if ARGV[last] == "@again" then
    wanted.again, last = true, last - 1
  end
  while at <= last do
    local count = argument.count(ARGV[at + 2])
    if not count or at + 2 + 2 * count > last then
      return nil, "a task that is none at argument " .. at
    end
    local copy = { old = ARGV[at], id = ARGV[at + 1], anew = {} }
    for field = at + 3, at + 2 + 2 * count, 2 do
      local wrong = copies.wrong(ARGV[field], ARGV[field + 1])
      if wrong then
        return nil, wrong
      end
      copy.anew[ARGV[field]] = ARGV[field + 1]
    end
    if copy.anew.later and not copy.anew.gate then
      return nil, "only what stands behind a gate is told its members later"
    end
    wanted[#wanted + 1] = copy
    at = at + 3 + 2 * count
  end
  if #wanted == 0 or #wanted > MOST then
    return nil, "1 to " .. MOST .. " tasks can be resubmitted at once, not " .. #wanted
  end
  return wanted
end

local function check_ids(wanted)
  local seen = {}
  for _, copy in ipairs(wanted) do
    for _, id in ipairs({ copy.old, copy.id }) do
      if not argument.is_id(id) or seen[id] then
        return reply.fail("BADARG", "not a task id, or one twice: " .. id)
      end
      seen[id] = true
    end
  end
  for _, copy in ipairs(wanted) do
    if copy.anew.gate and seen[copy.anew.gate] then
      return reply.fail("BADARG", copy.anew.gate .. " is a gate and a task")
    end
  end
end

-- Read the old record, unless the copy exists already. Returns the error reply, if any.
local function check(copy, again)
  local new = record.get(copy.id, "state", "resubmit_of")
  local is_purged = again and not new[1] and require("lib.tombs").state_of(copy.id)
  if new[2] == copy.old or is_purged then
    copy.known = true
    return nil
  end
  if new[1] then
    return reply.fail("CONFLICT", copy.id .. " is known, and is no copy of " .. copy.old)
  end
  local state = copies.read(copy)
  if not state then
    return reply.fail("NOTASK", "No such task: " .. copy.old)
  end
  if not states.is_ended(state) then
    return reply.fail("PENDING", copy.old .. " is " .. state .. ": it has not ended")
  end
  return scheme_name == "pure" and require("lib.pure").refuse(copies.flags(copy)) or nil
end

local function too_much(bytes, members)
  if bytes > MOST_BYTES then
    return reply.fail("TOOLARGE", string.format(
      "arguments of %.0f bytes; the limit of a call is %.0f", bytes, MOST_BYTES))
  elseif members > MOST_MEMBERS then
    return reply.fail("BADARG", string.format(
      "dependencies with %d members; the limit of a call is %d", members, MOST_MEMBERS))
  end
end

-- Returns the copies to make; or nil and the error reply.
local function check_all(wanted)
  local missing, bytes, members = {}, 0, 0
  for _, copy in ipairs(wanted) do
    local refused = check(copy, wanted.again)
    if refused then
      return nil, refused
    end
    if not copy.known then
      missing[#missing + 1] = copy
      local more_bytes, more_members = copies.size(copy)
      bytes, members = bytes + more_bytes, members + more_members
    end
  end
  local refused = #wanted > 1 and too_much(bytes, members)
  if refused then
    return nil, refused
  end
  return missing
end

local function main(opened)
  local wanted, wrong = parse()
  if not wanted then
    return reply.fail("BADARG", wrong)
  end
  local refused = check_ids(wanted)
  if refused then
    return refused
  end
  local missing
  missing, refused = check_all(wanted)
  if not missing then
    return refused
  end

  local new = #missing
  if new == 0 then
    -- A retry must succeed even at maxmemory.
    return { "ok", 0 }
  end

  -- Writes below. The first is refused at maxmemory, before anything has changed.
  local gates = copies.new_gates(missing)
  local counted = opened.is_earlier and #gates or 0
  local sequence = redis.call("HINCRBY", keys.hub, "submitted", new + counted) - new
  copies.write(opened, missing, gates, sequence)
  return { "ok", new }
end

return hub.run(main)
