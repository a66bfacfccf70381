-- argument: read what a caller sent, before anything is done with it.

local argument = {}

-- A whole number from 0 on, or nil. A negative count would walk backwards
-- through ARGV for ever, and a fraction is an error half way through a script.
function argument.count(text)
  local number = tonumber(text)
  if number and number >= 0 and number < math.huge and number == math.floor(number) then
    return number
  end
end

return argument
