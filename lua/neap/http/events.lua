--- Server-sent events (WHATWG HTML, 9.2): sending them, and following somebody else's.
---
--- ```lua
--- app:get("/prices", function(req)
---   local events <close> = req:events { heartbeat = 15, retry = 3 }
---   for price in prices_since(events.last_event_id) do
---     if not events:send { event = "price", id = price.id, data = price } then return end
---   end
--- end)
---
--- for event in neap.http.events("http://127.0.0.1:8080/prices") do print(event.type, event.data) end
--- ```

local client = require "neap.http.client"
local core = require "neap.core.http"
local json = require "neap.json"
local runtime = require "neap.core.runtime"
local schema = require "neap.schema"
local task = require "neap.task"

local M = {}

-- --- an event as text

---@class neap.http.ServerEvent
---@field data? string|table of any number of lines; a table goes out as JSON
---@field event? string its type; without, "message"
---@field id? string what a client that comes back says in Last-Event-ID; "" forgets the one before
---@field retry? number seconds a client waits before it comes back
---@field comment? string that clients do not see

local event_schema = schema.new {
  data = "string|table|number|boolean",
  event = { "string", min = 1, pattern = "[^\r\n]*" },
  id = { "string", pattern = "[^\r\n\0]*" },
  retry = { "number", min = 0, max = 86400 },
  comment = "string",
}

-- Every line of a text behind a field's name: nothing in it can end the event or begin another.
local function lines(name, text)
  if text:find("\r", 1, true) then text = text:gsub("\r\n?", "\n") end
  if text:find("\n", 1, true) then text = text:gsub("\n", "\n" .. name) end
  return name .. text .. "\n"
end

---An event as it goes over the wire.
---@param event string|neap.http.ServerEvent a text is its data
---@return string
function M.format(event)
  if type(event) == "string" then return lines("data: ", event) .. "\n" end
  schema.arg("event", event, "string|table", 3)
  event_schema:check(event, 3, "event")
  local out = {}
  if event.comment then out[#out + 1] = lines(": ", event.comment) end
  if event.event then out[#out + 1] = "event: " .. event.event .. "\n" end
  if event.id then out[#out + 1] = "id: " .. event.id .. "\n" end
  if event.retry then out[#out + 1] = ("retry: %d\n"):format(event.retry * 1000 // 1) end
  if event.data ~= nil then
    local text, err = event.data, nil
    if type(text) ~= "string" then text, err = json.encode(text) end
    if not text then error("event.data: " .. err.message, 3) end
    out[#out + 1] = lines("data: ", text)
  end
  if not out[1] then error("event: has nothing to send", 3) end
  out[#out + 1] = "\n"
  return table.concat(out)
end

-- --- sending

---What happens to events that a slow client has no room for: `wait` has `send` wait; when `queue` events
---wait, `drop_oldest` and `drop_newest` leave some out and `close` ends the stream: with these `send` never
---waits.
---@class neap.http.EventsOptions
---@field heartbeat? number|false seconds without an event after which a comment is sent; default 15
---@field retry? number seconds a client waits before it comes back; default: its own
---@field policy? "wait"|"drop_oldest"|"drop_newest"|"close" default "wait"
---@field queue? integer events that wait for the client (with "wait": senders); default 1000
---@field headers? table<string, string> more of the answer's

local serve_options = schema.new {
  heartbeat = { "seconds", default = 15 },
  retry = { "number", min = 0, max = 86400 },
  policy = { "string", enum = { "wait", "drop_oldest", "drop_newest", "close" }, default = "wait" },
  queue = { "integer", min = 1, default = 1000 },
  headers = { "map", of = "string|number", default = {} },
}

---A stream of events to one client. Any task may send. It ends with `close`, with the handler, when the
---client leaves (then `send` returns `nil, err`, and a handler that waits is cancelled as usual), and when
---the host stops or goes over to new code.
---@class neap.http.EventStream
---@field last_event_id? string what the client had last, when it comes back
---@field dropped integer events that were left out
---@field closed boolean
local Events = {}
Events.__index = Events
Events.__name = "neap.http.event_stream"

local function end_with(self, err)
  if self.failure then return end
  self.failure, self.closed = err, true
  for _, entry in ipairs(self.queue) do
    if entry.sent then entry.sent:resolve(nil, err) end
  end
  self.queue = {}
  self.bell:ring()
  if self.ended then self.ended:resolve() end
end

local function left()
  return task.error("ECONNRESET", "the client has left")
end

-- Writes and says so, whatever becomes of the task meanwhile.
local function write(self, text)
  self.writing = true
  local guard <close> = setmetatable({}, { -- luacheck: ignore 211
    __close = function()
      self.writing, self.last = false, runtime.monotonic()
      if self.queue[1] or self.closed then self.bell:ring() end
    end,
  })
  local ok, err = self.req:write(text)
  if not ok then end_with(self, err) end
  return ok, err
end

-- All that waits, in one write.
local function write_queue(self)
  local entries, texts = self.queue, {}
  self.queue = {}
  for i, entry in ipairs(entries) do texts[i] = entry.text end
  local ok, err = write(self, table.concat(texts))
  for _, entry in ipairs(entries) do
    if entry.sent then entry.sent:resolve(ok, err) end
  end
end

-- What ends when the pump does, however that is.
local function pump_ended(self)
  self.bell:close()
  if not self.closed then end_with(self, left()) end
  if self.drained then self.drained:resolve() end
end

-- Until something has to be said, or the stream is closed. A heartbeat is due when nothing was said.
local function wait_or_beat(self)
  local due = self.heartbeat and math.max(0, self.last + self.heartbeat - runtime.monotonic())
  if due == 0 and not self.writing then return write(self, ":\n\n") end
  self.bell:wait(due ~= 0 and due or nil)
  if self.bell:draining() then self.closed = true end
end

-- What writes for those who do not: the queue, and heartbeats. When the host stops it ends the stream:
-- clients come back, to whoever serves then.
local function pump(self)
  local guard <close> = setmetatable({}, { -- luacheck: ignore 211
    __close = function() pump_ended(self) end,
  })
  while not self.closed or (not self.failure and (self.queue[1] or self.writing)) do
    if self.queue[1] and not self.writing then
      write_queue(self)
    else
      wait_or_beat(self)
    end
  end
  if not self.failure then self.req:finish() end
  if self.ended then self.ended:resolve() end
end

local function enqueue(self, text, sent)
  if #self.queue < self.max_queue then
    self.queue[#self.queue + 1] = { text = text, sent = sent }
    self.bell:ring()
    return true
  end
  if sent then return nil, task.error("ELIMIT", "too many tasks wait to send to this client") end
  if self.policy == "close" then
    end_with(self, task.error("ELIMIT", "the client is too slow"))
    return nil, self.failure
  end
  self.dropped = self.dropped + 1
  if self.policy == "drop_oldest" then
    table.remove(self.queue, 1)
    self.queue[#self.queue + 1] = { text = text }
  end
  return true
end

---Sends an event.
---@param event string|neap.http.ServerEvent a text is its data; line ends in it are kept, as LF
---@return true? ok
---@return neap.Error? err ECONNRESET: the client has left; ECLOSED; ELIMIT
function Events:send(event)
  local text = M.format(event)
  if self.failure then return nil, self.failure end
  if self.closed then return nil, task.error("ECLOSED", "the stream is closed") end
  if self.policy ~= "wait" then return enqueue(self, text) end
  if not self.writing and not self.queue[1] then return write(self, text) end
  local sent = task.future()
  local ok, err = enqueue(self, text, sent)
  if not ok then return nil, err end
  return sent:await()
end

---Waits until the stream has ended, for handlers whose events come from other tasks.
---@return nil
---@return neap.Error? err why it ended, if not by `close`
function Events:wait()
  if not self.closed then
    self.ended = self.ended or task.future()
    self.ended:await()
  end
  return nil, self.failure
end

---Sends what waits, and ends the answer. Idempotent.
function Events:close()
  if self.closed then return end
  self.closed = true
  self.drained = task.future()
  self.bell:ring()
  self.drained:await()
end

function Events:__close()
  if not self.closed then self:close() end
end

---Answers a request with a stream of events.
---@param req neap.http.Request
---@param opts? neap.http.EventsOptions
---@return neap.http.EventStream? events
---@return neap.Error? err ECONNRESET: the client has left
function M.serve(req, opts)
  local o = serve_options:read(opts)
  local headers = {
    ["content-type"] = "text/event-stream",
    ["cache-control"] = "no-store, no-transform",
    ["x-accel-buffering"] = "no",
  }
  for name, value in pairs(o.headers) do headers[name:lower()] = value end
  local id = req:header "last-event-id"
  local ok, err = req:start(200, headers)
  if not ok then return nil, err end
  local self = setmetatable({
    req = req, last_event_id = id ~= "" and id or nil, dropped = 0, closed = false,
    heartbeat = o.heartbeat and o.heartbeat > 0 and o.heartbeat or nil,
    policy = o.policy, max_queue = o.queue, queue = {}, writing = false, last = runtime.monotonic(),
    bell = core.event_bell(),
  }, Events)
  if req.method == "HEAD" then -- the head is all
    self.closed = true
    self.bell:close()
    req:finish()
    return self
  end
  -- so that the client knows at once that there is a stream
  ok, err = write(self, o.retry and M.format { retry = o.retry } or ":\n\n")
  if not ok then
    self.bell:close()
    return nil, err
  end
  task.spawn(pump, self)
  return self
end

-- --- following

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
