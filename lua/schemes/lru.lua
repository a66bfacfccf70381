-- lru: the engine least recently given work, whatever its load.

local function score(_, used)
  return used
end

local function choose(free, admits)
  if admits then
    return require("lib.candidates").first(free, admits)
  end
  return redis.call("ZRANGE", free, "0", "0")[1]
end

return {
  score = score,
  choose = choose,
}
