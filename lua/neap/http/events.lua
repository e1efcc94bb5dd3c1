--- Server-sent events (WHATWG HTML, 9.2): sending them. Following them stands in event_source.lua.
---
--- ```lua
--- app:get("/prices", function(req)
---   local events <close> = req:events { heartbeat = 15, retry = 3 }
---   for price in prices_since(events.last_event_id) do
---     if not events:send { event = "price", id = price.id, data = price } then return end
---   end
--- end)
--- ```

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

return M
