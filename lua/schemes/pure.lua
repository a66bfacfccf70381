-- pure: each engine in its turn, and nothing that could make a difference between
-- engines: `submit` refuses the flags that do.

return require("schemes.lru")
