-- What luacheck may assume about the scripts: Lua 5.1 inside Redis.
std = "lua51"
read_globals = { "redis", "cjson", "KEYS", "ARGV" }
not_globals = { "print", "os", "io" }
-- "and" and "or" count as branches, and a script begins with a row of checks.
max_cyclomatic_complexity = 12
max_line_length = 100
