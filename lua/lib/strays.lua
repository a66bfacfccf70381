-- strays: tasks found in lines where they no longer belong.
--
-- lib/pick.lua takes them out and notes where they are to go. A caller that only asked
-- whether there is work makes sure that they get there.

local again = require("lib.again")
local cascade = require("lib.cascade")
local hold = require("lib.hold")
local settle = require("lib.settle")

-- Note a task to be dealt with.
local function note(opened, id, score)
  local stranded = opened.stranded or {}
  stranded[#stranded + 1], stranded[#stranded + 2] = id, score
  opened.stranded = stranded
end

-- End those that no engine may take, and tell engines of those that moved.
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
