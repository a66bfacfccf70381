-- states: every state of a task and every move between them.
--
-- Python reads this table too, and draws the diagram in ARCHITECTURE.rst from it. `new`
-- is before there is a record, `gone` after. Each state has one index that holds the id:
--   waiting                    waiting
--   ready                      ready:<queue>, of a class ready:<queue>:<class>
--   assigned                   engine:<uuid>:assigned
--   running                    engine:<uuid>:held
--   completed failed aborted   ended:<state>
-- A gate is no task; it is in timers only, whatever its state (lib/gate.lua).

-- One text, because a table would be rebuilt by every script call: the move, the library
-- function that performs it, and why.
local moves = [[
new>ready          line.enter       submitted
new>waiting        hold.enter       submitted, for later
waiting>ready      hold.release     all that it waited for has come
waiting>running    work.start       an engine took it along with what it waits for
waiting>completed  settle.outcome   a gate was opened
waiting>failed     settle.outcome   what it waits for can never come
waiting>aborted    settle.outcome   aborted before it was ready
ready>assigned     place.give       an engine with room was chosen
ready>running      work.start       an engine with room took it
ready>waiting      again.hold_back  the engine it was to follow left; others may come
ready>failed       settle.outcome   it waited too long, or no engine may take it
ready>aborted      settle.outcome   aborted before an engine had it
assigned>ready     place.give_back  its engine left before taking it
assigned>running   work.start       its engine took it
assigned>failed    settle.outcome   it waited too long
assigned>aborted   settle.outcome   aborted before it was taken
running>ready      again.put_back   a retry, refused, or given back unbegun
running>waiting    again.put_back   a retry, after a pause or what it waits for
running>completed  settle.outcome   the engine reported its result
running>failed     settle.outcome   it raised or lost its engines
running>aborted    settle.outcome   interrupted
completed>gone     forget.task      its retention is over, or it is purged
failed>gone        forget.task      its retention is over, or it is purged
aborted>gone       forget.task      its retention is over, or it is purged
]]

-- A move outside the table is a bug in a script: stop before it is made.
local function check(from, to)
  if not string.find(moves, from .. ">" .. to .. " ", 1, true) then
    error("REDTASK_MOVE " .. from .. ">" .. to .. " is not in lib/states.lua")
  end
end

local function is_ended(state)
  return state == "completed" or state == "failed" or state == "aborted"
end

-- The ended states, to iterate over.
local function ended()
  return { "completed", "failed", "aborted" }
end

return {
  check = check,
  is_ended = is_ended,
  ended = ended,
}
