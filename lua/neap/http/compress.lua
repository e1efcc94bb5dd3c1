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

---The middleware: `neap.http.compress`, see there.
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
