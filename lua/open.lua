-- open: open a gate, so that the tasks behind it no longer wait for it.
--
-- KEYS     root
-- ARGV     now gate
-- RETURNS  {"ok" | "ended"}
-- MOVES    -
-- ERRORS   NOHUB SCHEMA SCHEME NOW BADARG NOTASK
-- COST     O(tasks behind it), at most 100
--
-- `ended`: it was opened or given up before.

local argument = require("lib.argument")
local cascade = require("lib.cascade")
local depend = require("lib.depend")
local gates = require("lib.gate")
local hold = require("lib.hold")
local hub = require("lib.hub")
local reply = require("lib.reply")
local settle = require("lib.settle")

local id = ARGV[2]

local function main(opened)
  local gate = argument.is_id(id) and depend.read(id)
  if not gate then
    return reply.fail("NOTASK", "No such gate: " .. id)
  end
  if gate.state ~= "waiting" then
    return { "ended" }
  end
  if gate.gate ~= id then
    return reply.fail("BADARG", id .. " is no gate")
  end

  -- Writes below. The first is allowed at maxmemory.
  local ending = settle.begin(opened)
  gates.finish(opened, ending, gate, "completed")
  cascade.run(opened, ending)
  settle.close(ending)
  hold.advance(opened)
  return { "ok" }
end

return hub.run(main)
