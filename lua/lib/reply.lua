-- reply: how a script refuses.
--
-- A *returned* error table is the one form that reaches the client verbatim on
-- Redis 6.2, 7, Valkey and fakeredis alike; error() is wrapped by some.

-- Seldom: CODE is a class in redtask/error.py; the sentence is for a person.
local function fail(code, sentence)
  return { err = "REDTASK_" .. code .. " " .. sentence }
end

return {
  fail = fail,
}
