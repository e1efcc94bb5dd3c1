-- The server that bench/static.py measures: files of a directory. Its port and the directory are the arguments.
local neap = require "neap"

local app = neap.http.app()
app:static("/", arg[2])

assert(neap.http.serve { app = app, port = tonumber(arg[1]) })
