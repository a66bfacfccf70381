-- pure: flags that no task can have under the scheme of that name.

local reply = require("lib.reply")

-- Flags as named in scripts, and as users know them.
local FLAGS = {
  "after", "after", "follow", "follow", "timeout", "timeout", "targets", "targets",
  "retries", "retries", "start_in", "delay", "start_at", "eta", "pause", "retry_delay",
  "elsewhere", "retry_elsewhere", "gate", "gate", "refs", "Ref",
}

-- The error reply if these tasks have any, else nil.
local function refuse(group)
  for at = 1, #FLAGS, 2 do
    local flag = FLAGS[at]
    local value = group[flag]
    -- Zero retries are none; 0 among targets is an engine.
    if value and (value ~= "0" or flag == "targets") then
      return reply.fail("PURE", "the hub's scheme is pure, which has no " .. FLAGS[at + 1])
    end
  end
end

return {
  refuse = refuse,
}
