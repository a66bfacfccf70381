-- examine: is what the hub stores about these things consistent? Mends it on request.
--
-- KEYS     root
-- ARGV     now mend (kind name)*
-- RETURNS  {"ok", done, findings, tallies}
-- MOVES    -
-- ERRORS   NOHUB SCHEMA SCHEME NOW BADARG
-- COST     O(things * log tasks)
--
-- At most 500 things: `task` an id; `entry` an index and its member, separated by a
-- space; `beside` an id and a part; `engine` a uuid; `owned` a uuid and a part;
-- `function` a digest; `line` a queue and the class of a line; `expiring` a key; `tally`
-- a kind, a name, the number found there and the right one; `hub` anything. Key names are
-- given without the root.
--
-- `done` is how many things were examined: fewer than given when they took too long, and
-- the caller continues after them. findings: kind, name, code, words, and "found",
-- "mended" or "left" (cannot be mended). tallies: `kind name` and a number, what these
-- things imply about counters elsewhere: a caller that has asked for everything can
-- compare. Mends are logged in the story.

local hub = require("lib.hub")
local keys = require("lib.keys")
local reply = require("lib.reply")

local MOST = 500
-- So many lookups of set members before the rest is left to the next call: some 5 ms.
local MOST_LOOKS = 2000

local KINDS = "task entry beside engine owned function line expiring tally hub"

local mend = ARGV[2]

local function check()
  if mend ~= "0" and mend ~= "1" then
    return reply.fail("BADARG", "mend is 0 or 1")
  elseif #ARGV % 2 ~= 0 or #ARGV > 2 + 2 * MOST then
    return reply.fail("BADARG", "at most " .. MOST .. " things, each a kind and a name")
  end
  for at = 3, #ARGV, 2 do
    if not string.find(" " .. KINDS .. " ", " " .. ARGV[at] .. " ", 1, true) then
      return reply.fail("BADARG", "no such kind of thing: " .. ARGV[at])
    end
  end
end

-- Mends what was found of one thing only after all of it has been examined.
local function mend_all(opened, notes, findings)
  local from = #findings
  for number, note in ipairs(notes) do
    local word = "left"
    if note.mend then
      word = "found"
      if mend == "1" then
        note.mend()
        word = "mended"
        require("lib.story").tell(opened, "mended", note.kind, note.name, "why", note.code)
      end
    end
    local at = from + 5 * (number - 1)
    findings[at + 1], findings[at + 2], findings[at + 3] = note.kind, note.name, note.code
    findings[at + 4], findings[at + 5] = note.words, word
  end
end

local function look_at(opened, tallies, kind, name)
  local notes = {}
  local function note(code, words, how)
    notes[#notes + 1] = { kind = kind, name = name, code = code, words = words, mend = how }
  end
  local function tally(what, number)
    tallies[what] = (tallies[what] or 0) + number
  end
  if kind == "task" then
    require("lib.examine.task").look(opened, name, note, tally)
  elseif kind == "engine" then
    require("lib.examine.engine").look(opened, name, note, tally)
  elseif kind == "entry" then
    require("lib.examine.entry").look(name, note)
  else
    require("lib.examine.other").look(opened, kind, name, note, tally)
  end
  return notes
end

local function flat(tallies)
  local listed = {}
  for what, number in pairs(tallies) do
    listed[#listed + 1], listed[#listed + 2] = what, string.format("%.0f", number)
  end
  return listed
end

local function main(opened)
  local refused = check()
  if refused then
    return refused
  end

  -- Writes below: for each thing, after all of it has been examined. The first is allowed
  -- at maxmemory, and mends nothing.
  if mend == "1" then
    redis.call("PERSIST", keys.engines)
  end
  hub.read_clock(opened)
  opened.looks = 0
  local findings, tallies, done = {}, {}, 0
  for at = 3, #ARGV, 2 do
    if opened.looks > MOST_LOOKS then
      break
    end
    mend_all(opened, look_at(opened, tallies, ARGV[at], ARGV[at + 1]), findings)
    done = done + 1
  end
  -- Asking whether an engine has work may have found tasks in a wrong line.
  require("lib.strays").see_to(opened)
  return { "ok", done, findings, flat(tallies) }
end

return hub.run(main)
