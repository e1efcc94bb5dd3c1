--- What an active check does to find out how an endpoint is: one function a type, made once for all checks.
--- Each takes an endpoint and gives nil when it is well, or the kind of failure ("http_failure",
--- "tcp_failure", "timeout") and its words.

local task = require "neap.task"

local M = {}

local MAX_BODY = 1 << 20 -- bytes of an answer that is looked at
local MAX_WORDS = 120 -- of an answer in a failure's words

local function authority(endpoint)
  local host = endpoint.host
  if not host then return "localhost" end
  if host:find(":", 1, true) then host = "[" .. host .. "]" end
  return host .. ":" .. endpoint.port
end

local function failure(err, kind)
  local code = type(err) == "table" and err.code
  if code == "ETIMEDOUT" then return "timeout", tostring(err) end
  return kind or "tcp_failure", tostring(err)
end

-- --- HTTP

---Which statuses are well: numbers, and ranges as "200-399".
---@param list integer|string|(integer|string)[]
---@return (fun(status: integer): boolean)? is_well
---@return string? problem
function M.statuses(list)
  local ranges = {}
  for i, item in ipairs(type(list) == "table" and list or { list }) do
    local from, to = math.tointeger(item), math.tointeger(item)
    if type(item) == "string" then
      local a, b = item:match "^(%d+)%-(%d+)$"
      from, to = math.tointeger(tonumber(a or item)), math.tointeger(tonumber(b or item))
    end
    if not from or not to or from < 100 or to > 599 or from > to then
      return nil, ("[%d]: expected a status or a range as \"200-399\""):format(i)
    end
    ranges[i] = { from, to }
  end
  if not ranges[1] then return nil, ": expected at least one" end
  return function(status)
    for _, range in ipairs(ranges) do
      if status >= range[1] and status <= range[2] then return true end
    end
    return false
  end
end

local function http_url(opts, endpoint)
  if endpoint.path then return ("unix:%s:%s"):format(endpoint.path, opts.path) end
  return (opts.tls and "https://" or "http://") .. authority(endpoint) .. opts.path
end

local function shorten(text)
  if #text > MAX_WORDS then text = text:sub(1, MAX_WORDS) .. "…" end
  return ("%q"):format(text):gsub("\\\n", "\\n")
end

local function http(opts)
  local client, err = require("neap.http").client {
    tls = opts.tls or nil,
    tls_name = opts.tls_name,
    timeout = opts.timeout,
    max_body = MAX_BODY,
    redirects = 0,
    retry = false,
    proxy = false,
    deadline = false,
    pool = { max_idle = opts.keep_alive and 1 or 0, max_idle_total = opts.keep_alive and 16384 or 0 },
  }
  if not client then return nil, err end
  local is_well = opts.is_well
  return function(endpoint)
    local res, failed = client:request(opts.method, http_url(opts, endpoint), { headers = opts.headers })
    if not res then
      local code = failed.code
      local answered = code == "EPROTO" or code == "EMSGSIZE" or code == "ELIMIT" or code == "ECODING"
      return failure(failed, answered and "http_failure" or nil)
    end
    if not is_well(res.status) then return "http_failure", "status " .. res.status end
    if opts.body and not (res.body or ""):find(opts.body, 1, true) then
      return "http_failure", ("the body %s lacks %s"):format(shorten(res.body or ""), shorten(opts.body))
    end
  end
end

-- --- TCP and TLS

local function connect(opts, endpoint, tls)
  local timeout = opts.timeout
  local how = { timeout = timeout, tls = tls, server_name = tls and opts.tls_name or nil }
  if endpoint.path then return require("neap.unix").connect(endpoint.path, how) end
  return require("neap.tcp").connect(endpoint.host, endpoint.port, how)
end

-- Reads until the expected text has come.
local function expect(stream, opts)
  local seen = ""
  repeat
    local piece, err = stream:read()
    if not piece then
      if seen == "" or err.code == "ETIMEDOUT" then return failure(err) end
      return "http_failure", ("%s lacks %s"):format(shorten(seen), shorten(opts.expect))
    end
    seen = seen .. piece
    if #seen > MAX_BODY then return "http_failure", "it answers without end" end
  until seen:find(opts.expect, 1, true)
end

local function talk(opts, tls)
  return function(endpoint)
    local stream <close>, err = connect(opts, endpoint, tls)
    if not stream then return failure(err) end
    if opts.send then
      local sent, failed = stream:write(opts.send)
      if not sent then return failure(failed) end
    end
    if opts.expect then return expect(stream, opts) end
  end
end

local function tcp(opts) return talk(opts) end

-- A context once for all, so that no check reads certificates.
local function context(tls, alpn)
  if type(tls) == "userdata" then return tls end
  local options = { alpn = alpn }
  for key, value in pairs(type(tls) == "table" and tls or {}) do options[key] = value end
  return require("neap.tls").context(options)
end

local function tls(opts)
  local ctx, err = context(opts.tls)
  if not ctx then return nil, err end
  return talk(opts, ctx)
end

-- --- gRPC

-- Carries the bytes of a check both ways until there is a result.
local function carry(check, stream)
  while true do
    local out, broken = check:output()
    local healthy, words, answered = check:result()
    if healthy then return end
    if words then return answered and "http_failure" or "tcp_failure", words end
    if not out then return "http_failure", tostring(broken) end
    if out ~= "" then
      local sent, err = stream:write(out)
      if not sent then return failure(err) end
    end
    local bytes, err = stream:read()
    if not bytes then return failure(err) end
    check:feed(bytes) -- what is wrong with it, output says
  end
end

local function grpc(opts)
  local core = require "neap.core.health"
  local ctx, err
  if opts.tls then
    ctx, err = context(opts.tls, { "h2" })
    if not ctx then return nil, err end
  end
  return function(endpoint)
    local stream <close>, failed = connect(opts, endpoint, ctx)
    if not stream then return failure(failed) end
    local check <close>, bad = core.grpc(opts.authority or authority(endpoint), ctx ~= nil)
    if not check then return "http_failure", tostring(bad) end
    local begun, wrong = check:begin(opts.service_name, opts.timeout)
    if not begun then return "http_failure", tostring(wrong) end
    return carry(check, stream)
  end
end

-- --- a function of the script's own

local function custom(opts)
  local fn = opts.fn
  return function(endpoint)
    local well, err = fn(endpoint)
    if well then return end
    if err == nil then return "http_failure", "not healthy" end
    return failure(err, "http_failure")
  end
end

local function with_traceback(err)
  if not pcall(tostring, err) then return "what it raised cannot be described" end
  if type(err) ~= "string" then return err end
  return debug.traceback(err, 2)
end

local makers = { http = http, tcp = tcp, tls = tls, grpc = grpc, ["function"] = custom }

---Makes the check of a type, bounded by the timeout.
---@param kind "http"|"tcp"|"tls"|"grpc"|"function"
---@param opts table the check's options
---@return (fun(endpoint: neap.Endpoint): string?, string?, any)? check the failure, its words, what it raised
---@return neap.Error? err what the option `tls` could not load
function M.make(kind, opts)
  local fn, err = makers[kind](opts)
  if not fn then return nil, err end
  local function guarded(endpoint) return xpcall(fn, with_traceback, endpoint) end
  return function(endpoint)
    local ok, failed, words = task.timeout(opts.timeout, guarded, endpoint)
    if ok then return failed, words end
    if task.cancelled() then error(failed, 0) end
    -- What it raised, or how the task ended that it ran in.
    local cause = failed or words
    if type(cause) == "table" and cause.code == "ETIMEDOUT" then
      return "timeout", ("no answer in %g s"):format(opts.timeout)
    end
    return "http_failure", tostring(cause):match "^[^\n]*", cause
  end
end

return M
