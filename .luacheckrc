-- What luacheck knows about this tree. Lua 5.4; specs see busted's words.
std = "lua54"
max_line_length = 110
unused_args = true
ignore = {
  "212/_.*",  -- unused argument _name
  "212/self",
  "213/_.*",  -- unused loop variable _name
}

files["spec/"] = { std = "+busted" }
files["lua/neap/_meta/"] = {
  ignore = { "111", "112", "113", "211", "212", "241", "631" }, -- declarations, not code
}
files["lua/neap/prelude.lua"] = { globals = { "coroutine" } } -- it wraps resume and wrap
exclude_files = { "build/" }
