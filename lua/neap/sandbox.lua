--- Sandboxes: code of others, a balancing policy say, that may compute and do nothing else.
---
--- What is loaded here gets globals of its own: Lua's libraries without files, processes, `debug`, bytecode
--- and C modules, copied, so that what it changes in them is changed for nobody else; of neap's modules those
--- that `allow` names, read-only. `neap run --sandbox` puts a whole service into a sandbox; see the manual's
--- page on both. How long guests may compute is for the watchdog, how much memory they take for the limit of
--- the state that they share with their host.

local core = require "neap.core.sandbox"
local env = require "neap.sandbox.env"
local schema = require "neap.schema"
local task = require "neap.task"

---@class neap.sandbox
---@field active boolean whether this whole state is in a sandbox (`neap run --sandbox`)
local M = { active = core.active }

---@class neap.sandbox.Options
---@field allow? string[] the neap modules it may require: `{ "neap.json" }`; default none
---@field env? table more names it finds among its globals; what they lead to is its to use, and to change
---@field name? string of the chunk, for messages; default `=sandbox`, a file's path

local options = schema.new {
  allow = { "array", of = "string" },
  env = "table",
  name = "string",
}

local function make_require(guest, allowed)
  local require = env.guest_require or require
  return function(name)
    if name == "_G" or env.libraries[name] then return rawget(guest, name) end
    if not allowed[name] then
      error(("module '%s' is not allowed in this sandbox (opts.allow)"):format(tostring(name)), 2)
    end
    return env.readonly(require(name))
  end
end

local function new_globals(opts)
  local allowed = {}
  for _, name in ipairs(opts.allow or {}) do
    if not name:find "^neap%.%l[%w_.]*$" or name == "neap.sandbox" or core.hidden(name) then
      error(("opts.allow: '%s' is no module of neap's that a sandbox may have"):format(name), 3)
    end
    allowed[name] = true
  end
  local guest = env.new(true)
  guest.require = make_require(guest, allowed)
  for name, value in pairs(opts.env or {}) do
    guest[name] = value
  end
  env.lock_strings(string)
  return guest
end

local function run(fn)
  local results = table.pack(pcall(fn))
  if results[1] then return results[2] == nil and true or results[2] end
  local err = results[2]
  if type(err) == "table" and err.code then return nil, err end
  return nil, task.error("ESCRIPT", tostring(err))
end

local function is_path(text) return text:find "%.lua$" ~= nil and not text:find "[\n;=({]" end

---Runs a text, or a file whose path ends in `.lua`, in a sandbox of its own, in this task: it may wait.
---@param source string Lua text, or a path
---@param opts? neap.sandbox.Options
---@return any value what it returned (`true` for nothing), or nil
---@return neap.Error? err ESCRIPT: it is no Lua, or raised; ENOENT: no such file
function M.load(source, opts)
  if type(source) ~= "string" then
    error(("bad argument #1 to 'load' (string expected, got %s)"):format(type(source)), 2)
  end
  if is_path(source) then return M.require(source, opts) end
  opts = options:read(opts, 2)
  local guest = new_globals(opts)
  local fn, err = load(source, opts.name or "=sandbox", "t", guest)
  if not fn then return nil, task.error("ESCRIPT", err) end
  return run(fn)
end

---The same for a file. It is run again at each call: keep the value.
---@param path string
---@param opts? neap.sandbox.Options
---@return any value
---@return neap.Error? err
function M.require(path, opts)
  if type(path) ~= "string" then
    error(("bad argument #1 to 'require' (string expected, got %s)"):format(type(path)), 2)
  end
  opts = options:read(opts, 2)
  local fn, err, absent = core.load_file(path, new_globals(opts), opts.name)
  if not fn then return nil, task.error(absent and "ENOENT" or "ESCRIPT", err) end
  return run(fn)
end

---A view of a table that cannot be written to, nor the tables found in it. Functions in it are the same
---functions. `pairs`, `#`, indexing and calls work; `next` sees nothing.
---@param t table
---@return table
function M.readonly(t)
  if type(t) ~= "table" then
    error(("bad argument #1 to 'readonly' (table expected, got %s)"):format(type(t)), 2)
  end
  return env.readonly(t)
end

return M
