--- Server-sent events (WHATWG HTML, 9.2): following a stream, over as many connections as it takes.
---
--- ```lua
--- for event in neap.http.events("http://127.0.0.1:8080/prices") do print(event.type, event.data) end
--- ```

local client = require "neap.http.client"
local core = require "neap.core.http"
local schema = require "neap.schema"
local task = require "neap.task"

local M = {}

---@class neap.http.FollowOptions
---@field client? neap.http.Client that makes the calls; default: one of all streams
---@field headers? table<string, any>
---@field last_event_id? string where to begin
---@field retry? number seconds before a connection is made again, unless the server says; default 3
---@field max_delay? number seconds; failures in a row double the time up to this; default 60
---@field max_failures? integer in a row after which it gives up; default: never; 0: it never comes back
---@field connect_timeout? number|false seconds to wait for the head of the answer; default 30
---@field idle_timeout? number|false seconds without a byte, comments included; default 300
---@field max_event? integer bytes of one event; default 1 MiB, at least 1 KiB

local follow_options = schema.new {
  client = "table",
  headers = { "map", of = "string|number|boolean|table", default = {} },
  last_event_id = { "string", pattern = "[^\r\n\0]*", max = 1000 },
  retry = { "number", min = 0, default = 3 },
  max_delay = { "number", min = 0, default = 60 },
  max_failures = { "integer", min = 0 },
  connect_timeout = { "seconds", default = 30 },
  idle_timeout = { "seconds", default = 300 },
  max_event = { "integer", min = 1024, default = 1 << 20 },
}

---@class neap.http.Event
---@field type string "message" unless the server says another
---@field data string
---@field id? string the last one that was given, by this event or before

---A stream of events that is followed, over as many connections as it takes.
---@class neap.http.EventSource
---@field url string
---@field last_event_id? string
---@field failures integer connections in a row that failed
local Source = {}
Source.__index = Source
Source.__name = "neap.http.event_source"
Source.__call = function(self)
  local event, err = self:next()
  if event == nil and err ~= nil then error(err, 0) end
  return event
end

local shared

---Follows a stream of events: `for event in neap.http.events(url) do … end` waits for each, connects again
---when the connection breaks, and says then which event was the last. It ends when the server answers 204,
---and raises what cannot be helped: another status, another content type, `max_failures`.
---@param url string
---@param opts? neap.http.FollowOptions
---@return neap.http.EventSource
function M.follow(url, opts)
  schema.arg("url", url, "string")
  local o = follow_options:read(opts)
  shared = shared or client.new()
  local parser = core.event_parser(o.max_event)
  parser:push("id: " .. (o.last_event_id or "") .. "\n\n")
  parser:next()
  return setmetatable({
    url = url, opts = o, client = o.client or shared, parser = parser,
    last_event_id = o.last_event_id, failures = 0, closed = false,
  }, Source)
end

local temporary = { [429] = true, [500] = true, [502] = true, [503] = true, [504] = true }

local function delay_of(self, answer)
  local asked = answer and math.tointeger(tonumber(answer.headers["retry-after"]))
  local base = (self.parser:retry() or self.opts.retry * 1000) / 1000
  local delay = math.min(self.opts.max_delay, base * 2 ^ math.min(30, math.max(0, self.failures - 1)))
  return math.max(asked and math.min(asked, 3600) or 0, math.max(base, delay)) * (1 + math.random() / 10)
end

-- What a new connection asks for.
local function call_options(self)
  local headers = { accept = "text/event-stream", ["cache-control"] = "no-store" }
  for name, value in pairs(self.opts.headers) do headers[name:lower()] = value end
  headers["last-event-id"] = self.last_event_id
  return {
    headers = headers,
    stream = true,
    timeout = false,
    first_byte_timeout = self.opts.connect_timeout,
    idle_timeout = self.opts.idle_timeout,
  }
end

local function is_stream(res)
  local kind = (res.headers["content-type"] or ""):match "^%s*([^;%s]*)"
  return kind:lower() == "text/event-stream"
end

-- Another try later, or the end of all tries: then nil, err.
local function failed(self, err, answer)
  if self.closed then return nil end
  self.failures = self.failures + 1
  if self.opts.max_failures and self.failures > self.opts.max_failures then
    self:close()
    return nil, err
  end
  task.sleep(delay_of(self, answer))
  return true
end

-- One connection: true when it stands or may be tried again; nil at the end; nil, err.
local function connect(self)
  local res, err = self.client:get(self.url, call_options(self))
  if not res then
    if err.code == "EINVAL" then return nil, err end -- no URL will ever come of it
    return failed(self, err)
  end
  if self.closed then return res:close() end
  if res.status == 200 and is_stream(res) then
    self.res, self.failures = res, 0
    self.parser:restart()
    return true
  end
  res:close()
  if res.status == 204 then
    self:close()
    return nil
  end
  local what = res.status == 200 and "no text/event-stream" or "status " .. res.status
  err = task.error("EPROTO", ("%s: the server answered with %s"):format(self.url, what))
  if temporary[res.status] then return failed(self, err, res) end
  self:close()
  return nil, err
end

-- More bytes for the parser, or the connection is over.
local function read_more(self)
  local piece, err = self.res:read()
  if piece then
    self.parser:push(piece)
    return true
  end
  if self.closed then return nil end
  self.res:close()
  self.res = nil
  if self.opts.max_failures == 0 then
    self:close()
    return nil, err
  end
  if err then return failed(self, err) end
  task.sleep(delay_of(self))
  return true
end

---The next event; waits for it.
---@return neap.http.Event? event nil at the end
---@return neap.Error? err EPROTO, ELIMIT, or why the last of `max_failures` connections failed
function Source:next()
  while not self.closed do
    local ok, err
    if not self.res then
      ok, err = connect(self)
    else
      local kind, data, id = self.parser:next()
      local last = self.parser:last_id()
      self.last_event_id = last ~= "" and last or nil
      if kind then return { type = kind, data = data, id = id ~= "" and id or nil } end
      if data then
        self:close()
        return nil, data
      end
      ok, err = read_more(self)
    end
    if not ok then return nil, err end
  end
end

---Ends it, also while another task waits for the next event. Idempotent.
function Source:close()
  self.closed = true
  if self.res then self.res:close() end
  self.res = nil
end

Source.__close = Source.close

return M
