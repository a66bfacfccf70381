-- states: every state of a task and every move between them.
--
-- Python reads this table too, and the diagram in ARCHITECTURE.rst is drawn
-- from it. `new` is no record yet, `gone` no record any more. Each state has
-- one index that holds the id:
--   ready               ready:<class>
--   assigned            engine:<uuid>:assigned
--   running             engine:<uuid>:held
--   completed failed aborted   ended:<state>

local states = {}

-- from, to, the library function that performs it and why it does
states.moves = {
  { "new", "ready", "line.enter", "submitted" },
  { "ready", "assigned", "place.assign", "an engine with room was chosen" },
  { "assigned", "ready", "place.give_back", "its engine left before taking it" },
  { "assigned", "running", "take.tasks", "its engine took it" },
  { "ready", "running", "take.tasks", "an engine with room took it" },
  { "running", "ready", "line.again", "a retry, or given back unbegun" },
  { "running", "completed", "settle.outcome", "the engine reported its result" },
  { "running", "failed", "settle.outcome", "it raised or lost its engines" },
  { "ready", "aborted", "settle.outcome", "aborted before an engine had it" },
  { "assigned", "aborted", "settle.outcome", "aborted before it was taken" },
  { "completed", "gone", "forget.task", "its retention is over" },
  { "failed", "gone", "forget.task", "its retention is over" },
  { "aborted", "gone", "forget.task", "its retention is over" },
}

states.ended = { completed = true, failed = true, aborted = true }

local allowed = {}
for _, move in ipairs(states.moves) do
  allowed[move[1] .. ">" .. move[2]] = true
end

-- A move outside the table is a mistake in a script: stop before it is made.
function states.check(from, to)
  if not allowed[from .. ">" .. to] then
    error("REDTASK_MOVE " .. from .. ">" .. to .. " is not in lib/states.lua")
  end
end

return states
