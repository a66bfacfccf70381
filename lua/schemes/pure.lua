-- pure: round robin, and nothing that makes engines differ: `submit` refuses the flags
-- that do.

return require("schemes.lru")
