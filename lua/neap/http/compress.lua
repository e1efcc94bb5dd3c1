--- Answers compressed. What is done stands in C; this is how it is asked for.

local core = require "neap.core.http"

local M = {}

---`level`: for all, or by coding: `{ gzip = 6, br = 5, zstd = 3 }`; default: what suits answers that are made
---while a client waits (gzip 5, br 4, zstd 3). `types` are media types, "text/*", or endings as "+json";
---default: text, JSON, XML, JavaScript, WebAssembly, SVG and fonts that are not compressed already.
---@class neap.http.CompressOptions
---@field min_bytes? integer smaller bodies go out as they are; default 1024
---@field encodings? neap.Coding[] in order of preference; default { "zstd", "br", "gzip" }
---@field level? integer|table<neap.Coding, integer>
---@field types? string[]

local function plan(opts, path, level)
  local ok, made = pcall(core.compression, opts)
  if not ok then error((made:gsub("^%S+:%d+: ", ""):gsub("^opts", path)), level + 1) end
  return made
end

---A middleware that compresses answers by what the client accepts, whole or streamed: a string, a table, a
---function, `req:respond`, `req:start` and `req:write`, a client's response that is passed on. Left as they
---are: what has a Content-Encoding or `Cache-Control: no-transform`, 204, 206 and 304, small bodies, types
---that are compressed already, and files, for which `app:static` has `precompressed`. Sets Vary, makes a
---strong ETag weak. What was written is flushed before the loop waits, `text/event-stream` at once.
---
---Compression over TLS lets who can see lengths and slip text into an answer guess secrets that stand in the
---same answer (BREACH): let such answers have `cache-control: no-transform`.
---@param opts? neap.http.CompressOptions
---@return neap.http.Middleware
function M.answers(opts)
  local compress, made = core.compress, plan(opts, "opts", 2)
  return function(req, next)
    compress(req, made)
    return next(req)
  end
end

---The same around a server's handler.
---@param opts neap.http.CompressOptions|boolean|nil
---@param handler neap.http.Handler
---@return neap.http.Handler
function M.around(opts, handler)
  if not opts then return handler end
  local compress, made = core.compress, plan(opts ~= true and opts or nil, "opts.compress", 4)
  return function(req, method, path)
    compress(req, made)
    return handler(req, method, path)
  end
end

return M
