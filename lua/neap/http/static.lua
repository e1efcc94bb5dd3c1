--- Files as answers: directories under a prefix of an app, and single files from a handler.
---
--- ```lua
--- app:static("/assets", "public", { max_age = 3600 })
--- app:static("/", "dist", { fallback = "index.html" })       -- a single-page app
--- app:get("/report/:id", function(req)
---   local ok, err = req:send_file(req.params.id .. ".pdf", { root = "reports", download = true })
---   if not ok then return 404, { error = err.message } end
--- end)
--- ```
---
--- Names are resolved by the kernel with the directory as their root: nothing that a client sends, and no
--- link, leads out of it. Files are opened on the worker's loop, which is right for local disks; a network
--- file system that hangs would hang the loop. Nothing is remembered between requests: a file that was
--- changed is served as it is now. Files are not compressed on their way: `precompressed` sends those that
--- were compressed beforehand. A file that shrinks or changes while it is sent breaks its connection off.
---
--- GET and HEAD only. Conditional requests (If-None-Match, If-Modified-Since, If-Match,
--- If-Unmodified-Since, If-Range) and ranges, single and several, are answered as RFC 9110 has it. The
--- entity tag is made of a file's time and size, and is strong once the file is a second old.

local core = require "neap.core.file"
local json = require "neap.json"
local sandboxed = require("neap.core.sandbox").active
local schema = require "neap.schema"

local M = {}

local CODINGS = { "br", "zstd", "gzip" }
local MAX_LISTED = 10000

---How files are served. `headers` are added to each answer; `types` says what an extension is, before the
---built-in table does; `charset` stands behind the types of text (`false`: none).
---@class neap.http.FileOptions
---@field max_age? number seconds; Cache-Control: public, max-age=…
---@field immutable? boolean with `max_age`: it never changes under its name
---@field cache_control? string the whole header, instead of those two
---@field headers? table<string, string>
---@field types? table<string, string> `{ glsl = "text/x-glsl" }`
---@field charset? string|false default "utf-8"
---@field etag? boolean default true: ETag and Last-Modified
---@field ranges? boolean default true
---@field max_ranges? integer that one request may ask for, 1 to 32 (default): with more it gets the whole
---@field links? "inside"|"none"|"all" which symbolic links are followed: those that stay inside (default) …
---@field dotfiles? boolean default false: what begins with a dot is not found, but for .well-known at the top

---@class neap.http.StaticOptions: neap.http.FileOptions
---@field mime_types? boolean|string read more types from /etc/mime.types or (not in a sandbox) that file
---@field index? string|string[]|false of a directory; default "index.html"
---@field listing? boolean default false: a directory without an index is listed
---@field fallback? string a file for what is not there, unless its name is that of an image, a script …
---@field precompressed? boolean|string[] default false: `name.br`, `.zst`, `.gz` where the client takes them

---@class neap.http.SendFileOptions: neap.http.FileOptions
---@field root? string the path is below this directory and cannot leave it; without, it is the script's own
---@field type? string Content-Type; default by the path's extension
---@field status? integer default 200; with another one neither conditions nor ranges count
---@field download? boolean|string a browser saves it, under that name (default: the path's last part)

local file_fields = {
  max_age = "seconds",
  immutable = "boolean",
  cache_control = "string",
  headers = { "map", of = "string" },
  types = { "map", of = "string" },
  charset = "string|boolean",
  etag = { "boolean", default = true },
  ranges = { "boolean", default = true },
  max_ranges = { "integer", min = 1, max = 32 },
  links = { "string", enum = { "inside", "none", "all" }, default = "inside" },
  dotfiles = "boolean",
}

local function fields_with(more)
  local fields = {}
  for name, field in pairs(file_fields) do fields[name] = field end
  for name, field in pairs(more) do fields[name] = field end
  return fields
end

local function is_name(name)
  if name == "" or name:find "[/%z\\]" or #name > 200 then return "expected a file's name" end
end

local static_options = schema.new(fields_with {
  index = { "string|array|boolean", default = "index.html" },
  listing = "boolean",
  mime_types = "boolean|string",
  fallback = { "string", min = 1, max = 1024 },
  precompressed = "boolean|array",
})

local send_options = schema.new(fields_with {
  root = "string",
  type = "string",
  status = { "integer", min = 200, max = 599 },
  download = "boolean|string",
})

-- --- options, as C wants them

local function cache_control(opts)
  if opts.cache_control then return opts.cache_control end
  if not opts.max_age then return end
  local text = ("public, max-age=%d"):format(opts.max_age // 1 | 0)
  return opts.immutable and text .. ", immutable" or text
end

local function flat_headers(headers)
  local flat = {}
  for name, value in pairs(headers or {}) do
    flat[#flat + 1] = name
    flat[#flat + 1] = value
  end
  return flat
end

---Reads a file of types (lines of a type and its extensions, `#` begins a comment).
---@param text string
---@param into table<string, string>
local function read_mime_types(text, into)
  for line in text:gmatch "[^\r\n]+" do
    local kind, rest = line:gsub("#.*", ""):match "^%s*(%S+/%S+)%s+(.*)$"
    for extension in (rest or ""):gmatch "%S+" do
      into[extension:lower()] = into[extension:lower()] or kind
    end
  end
end

local function types_of(opts)
  local types
  for extension, kind in pairs(opts.types or {}) do
    types = types or {}
    types[extension:lower():gsub("^%.", "")] = kind
  end
  if opts.mime_types then
    local path = opts.mime_types == true and "/etc/mime.types" or opts.mime_types
    if sandboxed and opts.mime_types ~= true then
      error("opts.mime_types: a path is not available in a sandbox", 0)
    end
    local file = io.open(path)
    if not file and opts.mime_types ~= true then error("opts.mime_types: cannot read " .. path, 0) end
    if file then
      types = types or {}
      read_mime_types(file:read "a", types)
      file:close()
    end
  end
  return types
end

local function common(opts)
  if opts.charset == true then error("opts.charset: expected string or false, got true", 0) end
  local charset = opts.charset
  if charset == nil then charset = "utf-8" end
  return {
    cache_control = cache_control(opts),
    headers = flat_headers(opts.headers),
    types = types_of(opts),
    charset = charset or nil,
    no_validators = not opts.etag,
    no_ranges = not opts.ranges,
    max_ranges = opts.max_ranges,
    links = opts.links,
    dotfiles = opts.dotfiles,
  }
end

local function index_names(index)
  if not index then return {} end
  if index == true then error("opts.index: expected string, array or false, got true", 0) end
  if type(index) == "string" then index = { index } end
  if #index > 8 then error("opts.index: at most 8", 0) end
  for i, name in ipairs(index) do
    local problem = type(name) ~= "string" and "expected string" or is_name(name)
    if problem then error(("opts.index[%d]: %s"):format(i, problem), 0) end
  end
  return index
end

local function coding_set(wanted)
  if not wanted then return end
  local set = {}
  for i, name in ipairs(wanted == true and CODINGS or wanted) do
    if name ~= "br" and name ~= "zstd" and name ~= "gzip" then
      error(("opts.precompressed[%d]: expected br, zstd or gzip"):format(i), 0)
    end
    set[name] = true
  end
  return set
end

-- What C gets, of options that are wrong at the level of the public function's caller.
local function settings_of(options, opts, build)
  local ok, settings = pcall(build, options:read(opts, 3))
  if not ok then error(settings, 3) end
  return settings
end

-- What C says of an option, at that level too.
local function call(fn, ...)
  local ok, first, err = pcall(fn, ...)
  if ok then return first, err end
  error(type(first) == "string" and first:gsub("^%S+:%d+: ", "") or first, 3)
end

-- --- listings

local escapes = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["'"] = "&#39;" }

local function escape(text) return (text:gsub("[&<>\"']", escapes)) end

local function in_url(name)
  return (name:gsub("[^%w%-._~]", function(c) return ("%%%02X"):format(c:byte()) end))
end

local function size_text(size)
  if not size then return "" end
  local units = { "B", "KiB", "MiB", "GiB", "TiB" }
  local unit = 1
  while size >= 1024 and unit < #units do
    size = size / 1024
    unit = unit + 1
  end
  return (unit == 1 and "%d %s" or "%.1f %s"):format(size, units[unit])
end

local function list_page(title, entries, is_root)
  local out = {
    '<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
    "<title>", escape(title), "</title><h1>", escape(title), "</h1><table>\n",
  }
  local function row(href, name, time, size)
    out[#out + 1] = ('<tr><td><a href="%s">%s</a><td>%s<td align="right">%s\n')
      :format(href, escape(name), time, size)
  end
  if not is_root then row("../", "../", "", "") end
  for _, e in ipairs(entries) do
    local tail = e.directory and "/" or ""
    -- "./": a name with a colon is no scheme
    local time = os.date("!%Y-%m-%d %H:%M", e.mtime)
    row("./" .. in_url(e.name) .. tail, e.name .. tail, time, size_text(e.size))
  end
  out[#out + 1] = "</table>\n"
  if entries.more then out[#out + 1] = ("<p>… and more: only %d are shown\n"):format(#entries) end
  return table.concat(out)
end

local function answer_listing(site, req, path)
  local entries = site:list(path, MAX_LISTED)
  if not entries then return 404, { error = "not found" } end
  table.sort(entries, function(a, b)
    if a.directory ~= b.directory then return a.directory end
    return a.name < b.name
  end)
  local best = core.best(req, "media", { "text/html", "application/json" })
  local headers = { ["cache-control"] = "no-cache", ["vary"] = "Accept" }
  if best == 2 then
    for _, e in ipairs(entries) do e.directory = e.directory or nil end
    headers["content-type"] = "application/json"
    return 200, #entries == 0 and "[]" or json.encode(entries), headers
  end
  headers["content-type"] = "text/html; charset=utf-8"
  headers["content-security-policy"] = "default-src 'none'"
  headers["x-content-type-options"] = "nosniff"
  return 200, list_page("/" .. path, entries, path == ""), headers
end

-- --- sites

local function with_query(req, location)
  local query = req.query_string
  if query and query ~= "" then return location .. "?" .. query end
  return location
end

-- "//host/" would be another site's address.
local function add_slash(req)
  local location = req.path:gsub("^/+", "/") .. "/"
  return 308, "", { location = with_query(req, location) }
end

local refusals = {
  denied = function() return 403, { error = "forbidden" } end,
  busy = function() return 503, { error = "too many open files" }, { ["retry-after"] = "1" } end,
  failed = function() return 500, { error = "internal error" } end,
  directory = add_slash,
}

local function site_settings(opts)
  local settings = common(opts)
  settings.index = index_names(opts.index)
  settings.precompressed = coding_set(opts.precompressed)
  settings.fallback = opts.fallback
  settings.listing = opts.listing
  return settings
end

local function default_not_found() return 404, { error = "not found" } end

---For an app: what answers a GET without a table of captures, given the whole path and where the file's
---begins in it; false where the handler has to say why it cannot.
---@type table<neap.http.Handler, fun(req: neap.http.Request, path: string, from: integer): boolean>
M.direct = setmetatable({}, { __mode = "k" })

local function make_handler(site, listing, not_found)
  local serve, serve_from = site.serve, site.serve_from
  local function handler(req)
    local path = req.params.path or ""
    local why = serve(site, req, path)
    if not why then return end
    if why == "no_index" and listing then return answer_listing(site, req, path) end
    return (refusals[why] or not_found)(req)
  end
  M.direct[handler] = function(req, path, from) return serve_from(site, req, path, from) end
  return handler
end

---Makes a handler for files: `app:get("/files/*path", assert(neap.http.files("public")))`. What is asked for
---is `req.params.path`.
---@param root string a directory, relative to the working directory
---@param opts? neap.http.StaticOptions
---@return neap.http.Handler? handler
---@return neap.Error? err ENOENT, EACCES, EINVAL (no directory)
function M.files(root, opts)
  schema.arg("root", root, "string")
  local settings = settings_of(static_options, opts, site_settings)
  local site, err = call(core.site, root, settings)
  if not site then return nil, err end
  return make_handler(site, settings.listing, default_not_found)
end

-- What answers where nothing is: the words of the outermost app.
local function not_found_of(app)
  return function(req)
    local outer = app
    while outer.mounts[1] do outer = outer.mounts[1].app end
    req.unmatched = { reason = "not_found" }
    return (outer.not_found_handler or default_not_found)(req)
  end
end

---What `app:static` does.
---@param app neap.http.App
---@param prefix string
---@param root string
---@param opts? neap.http.StaticOptions
---@return neap.http.App app
function M.mount(app, prefix, root, opts)
  schema.arg("prefix", prefix, "string")
  schema.arg("root", root, "string")
  if prefix:find "^[^/]" or prefix == "" or prefix:find "[*?#]" then
    error("prefix: begins with '/', and has no wildcard", 2)
  end
  local settings = settings_of(static_options, opts, site_settings)
  local site, err = call(core.site, root, settings)
  if not site then error("root: " .. err.message, 2) end
  local handler = make_handler(site, settings.listing, not_found_of(app))
  prefix = prefix:gsub("/+$", "")
  if prefix ~= "" then app:get(prefix, add_slash) end
  return app:get(prefix .. "/*path", handler)
end

-- --- single files

local function disposition(download, path)
  local name = download == true and path:match "[^/]*$" or download
  local plain = name:gsub("[^\x20-\x7e]", "_"):gsub('[\\"]', "_")
  local text = ('attachment; filename="%s"'):format(plain)
  if plain == name then return text end
  return text .. "; filename*=UTF-8''" .. in_url(name)
end

local function send_settings(opts)
  local settings = common(opts)
  settings.root, settings.type, settings.status = opts.root, opts.type, opts.status
  settings.download = opts.download
  return settings
end

---What `req:send_file` does.
---@param req neap.http.Request
---@param path string
---@param opts? neap.http.SendFileOptions
---@return true? ok
---@return neap.Error? err ENOENT, EACCES, EMFILE; ECONNRESET when the client has left
function M.send(req, path, opts)
  schema.arg("path", path, "string")
  local settings = settings_of(send_options, opts, send_settings)
  local download = settings.download
  if download then
    local headers = settings.headers
    headers[#headers + 1] = "Content-Disposition"
    headers[#headers + 1] = disposition(download, path)
    if type(download) == "string" then settings.name = download end
  end
  local ok, err = call(core.send, req, path, settings)
  return ok, err
end

return M
