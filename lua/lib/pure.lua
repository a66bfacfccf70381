-- pure: what no task can ask for under the scheme of that name.

local reply = require("lib.reply")

-- Flags as scripts know them, and as people do.
local FLAGS = {
  "after", "after", "follow", "follow", "timeout", "timeout", "targets", "targets",
  "retries", "retries", "start_in", "delay", "start_at", "eta", "pause", "retry_delay",
  "elsewhere", "retry_elsewhere", "gate", "gate", "refs", "Ref",
}

-- The error reply when these tasks do, else nil.
local function refuse(group)
  for at = 1, #FLAGS, 2 do
    local flag = FLAGS[at]
    local value = group[flag]
    -- No retries are none; the engine 0 is one.
    if value and (value ~= "0" or flag == "targets") then
      return reply.fail("PURE", "the hub's scheme is pure, which has no " .. FLAGS[at + 1])
    end
  end
end

return {
  refuse = refuse,
}
