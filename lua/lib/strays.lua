-- strays: who looks for work finds tasks in lines where they do not belong any more.
--
-- lib/pick.lua takes them out and notes where they are to go. Whoever only asked whether
-- there is work sees to it that they get there.

local again = require("lib.again")
local cascade = require("lib.cascade")
local hold = require("lib.hold")
local settle = require("lib.settle")

-- This one is to be seen to.
local function note(opened, id, score)
  local stranded = opened.stranded or {}
  stranded[#stranded + 1], stranded[#stranded + 2] = id, score
  opened.stranded = stranded
end

-- Those that no engine may take end, and engines hear of those that moved.
local function see_to(opened)
  if opened.stranded then
    local ending = settle.begin(opened)
    again.rescue(opened, ending)
    cascade.run(opened, ending)
    settle.close(ending)
  end
  hold.advance(opened)
end

return {
  note = note,
  see_to = see_to,
}
