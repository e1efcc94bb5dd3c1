--- Requests' bodies decompressed. What is done stands in C; this is how it is asked for.

local core = require "neap.core.http"

local M = {}

---@class neap.http.DecompressOptions
---@field max_bytes? integer of a decoded body; default 1 MiB, or serve's max_body_bytes; 0: no bound
---@field max_ratio? integer bytes for each that came, once there is 1 MiB of them; default 200, 0: no bound
---@field encodings? neap.Coding[] that are taken; default all four

local function make(opts, path, level)
  local ok, plan = pcall(core.decompression, opts)
  if not ok then error((plan:gsub("^%S+:%d+: ", ""):gsub("^opts", path)), level + 1) end
  return plan
end

-- What clients are told that send another one (RFC 9110, 15.5.16).
local function accepted(opts)
  return table.concat(opts and opts.encodings or { "zstd", "br", "gzip", "deflate" }, ", ")
end

local function refuse(status, names)
  if status == 400 then return 400, { error = "malformed content-encoding" } end
  return 415, { error = "unsupported content-encoding" }, { ["accept-encoding"] = names }
end

---The middleware: `neap.http.decompress`, see there.
---@param opts? neap.http.DecompressOptions
---@return neap.http.Middleware
function M.requests(opts)
  local decompress, plan, names = core.decompress, make(opts, "opts", 2), accepted(opts)
  return function(req, next)
    local status = decompress(req, plan)
    if status then return refuse(status, names) end
    return next(req)
  end
end

---The same around a server's handler.
---@param opts neap.http.DecompressOptions|boolean|nil
---@param max_body? integer
---@param handler neap.http.Handler
---@return neap.http.Handler
function M.around(opts, max_body, handler)
  if not opts then return handler end
  if type(opts) ~= "table" and opts ~= true then
    error("opts.decompress: expected boolean or table, got " .. type(opts), 4)
  end
  local copy = { max_bytes = max_body }
  for key, value in pairs(opts ~= true and opts or {}) do copy[key] = value end
  local decompress, plan, names = core.decompress, make(copy, "opts.decompress", 4), accepted(copy)
  return function(req, method, path)
    local status = decompress(req, plan)
    if status then return refuse(status, names) end
    return handler(req, method, path)
  end
end

return M
