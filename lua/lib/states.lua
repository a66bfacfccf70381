-- states: every state of a task and every move between them.
--
-- Python reads this table too, and the diagram in ARCHITECTURE.rst is drawn from
-- it. `new` is no record yet, `gone` no record any more. Each state has one index
-- that holds the id:
--   ready                      ready:<class>
--   assigned                   engine:<uuid>:assigned
--   running                    engine:<uuid>:held
--   completed failed aborted   ended:<state>

-- One text, because a table would be built anew by every script call: the move,
-- the library function that performs it, and why it does.
local moves = [[
new>ready          line.enter       submitted
ready>assigned     place.assign     an engine with room was chosen
assigned>ready     place.give_back  its engine left before taking it
assigned>running   work.start       its engine took it
ready>running      work.start       an engine with room took it
running>ready      again.put_back   a retry, or given back unbegun
running>completed  settle.outcome   the engine reported its result
running>failed     settle.outcome   it raised or lost its engines
ready>aborted      settle.outcome   aborted before an engine had it
assigned>aborted   settle.outcome   aborted before it was taken
completed>gone     forget.task      its retention is over
failed>gone        forget.task      its retention is over
aborted>gone       forget.task      its retention is over
]]

-- A move outside the table is a mistake in a script: stop before it is made.
local function check(from, to)
  if not string.find(moves, from .. ">" .. to .. " ", 1, true) then
    error("REDTASK_MOVE " .. from .. ">" .. to .. " is not in lib/states.lua")
  end
end

local function is_ended(state)
  return state == "completed" or state == "failed" or state == "aborted"
end

-- The ended ones, for who looks at each of them.
local function ended()
  return { "completed", "failed", "aborted" }
end

return {
  check = check,
  is_ended = is_ended,
  ended = ended,
}
