-- What luacheck may assume about the scripts: Lua 5.1 inside Redis.
std = "lua51"
read_globals = { "redis", "cjson", "KEYS", "ARGV" }
not_globals = { "print", "os", "io" }
max_cyclomatic_complexity = 8
max_line_length = 100
