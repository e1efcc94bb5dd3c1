--- Which route a method and a path lead to.
---
--- A path that has no parameters is found by one hash lookup. Others are found segment by segment,
--- where a literal segment goes before a parameter (`:id`) and a parameter before a wildcard
--- (`*path`, only at the end); a branch that leads nowhere, or to a route of another method, is left
--- again for the next. Captured text is percent-decoded after the path was split, so `%2F` never
--- makes a segment of its own. Nothing here waits, and nothing is allocated for a literal path.

local M = {}

local byte, find, sub, gsub, char = string.byte, string.find, string.sub, string.gsub, string.char

---A defined route, as the router gives it back. Other fields are the definer's.
---@class neap.http.Route
---@field method string "GET" …, or "*" for any
---@field pattern string as it was defined
---@field names string[] of what it captures, in order
---@field where string? "file:line" of its definition

-- A leaf holds what stands at one place of the tree: method → route.

-- A node is `inner` where a literal segment or a parameter may follow.

---@class neap.http.Router
---@field statics table<string, table<string, neap.http.Route>>
---@field tops table<string, table> the nodes of literal first segments that are the same when decoded
local Router = {}
Router.__index = Router

---@param opts? { trailing_slash?: "strict"|"redirect"|"ignore" }
---@return neap.http.Router
function M.new(opts)
  return setmetatable({
    statics = {},
    root = { children = {} },
    tops = {},
    captures = {},
    slash = opts and opts.trailing_slash or "strict",
  }, Router)
end

local function hex(digits) return char(tonumber(digits, 16)) end

local function decode(text)
  if not find(text, "%", 1, true) then return text end
  return (gsub(text, "%%(%x%x)", hex))
end

-- A '%' that no two hex digits follow, or an encoded NUL.
local function malformed(path)
  local rest = gsub(path, "%%%x%x", "")
  return find(rest, "%", 1, true) or find(path, "%00", 1, true)
end

local function split(pattern)
  local segments = {}
  for segment in pattern:gmatch "/([^/]*)" do segments[#segments + 1] = segment end
  return segments
end

local function check_pattern(pattern, segments)
  if sub(pattern, 1, 1) ~= "/" then return "a path begins with '/'" end
  if find(pattern, "[?#]") then return "a path has no '?' or '#'" end
  local seen = {}
  for i, segment in ipairs(segments) do
    local kind, name = segment:match "^([:*])(.*)$"
    if kind == ":" and not name:find "^[%a_][%w_]*$" then
      return ("%q is no name for a parameter"):format(segment)
    end
    if kind == "*" and i < #segments then return "a wildcard stands at the end" end
    if kind == "*" and name ~= "" and not name:find "^[%a_][%w_]*$" then
      return ("%q is no name for a wildcard"):format(segment)
    end
    if kind then
      if seen[name] then return ("%q is captured twice"):format(name) end
      seen[name] = true
    end
  end
end

-- The leaf for these segments, made as needed, and the names on the way to it.
local function plant(self, segments)
  local node, names = self.root, {}
  for _, segment in ipairs(segments) do
    local kind = sub(segment, 1, 1)
    if kind == "*" then
      names[#names + 1] = #segment > 1 and sub(segment, 2) or "*"
      node.wild = node.wild or {}
      return node.wild, names
    elseif kind == ":" then
      names[#names + 1] = sub(segment, 2)
      node.inner = true
      node.param = node.param or { children = {} }
      node = node.param
    else
      segment = decode(segment)
      node.inner = true
      node.children[segment] = node.children[segment] or { children = {} }
      if node == self.root and not find(segment, "%", 1, true) then
        self.tops[segment] = node.children[segment]
      end
      node = node.children[segment]
    end
  end
  node.leaf = node.leaf or {}
  return node.leaf, names
end

---Defines a route.
---@param method string an upper-case token, or "*" for any
---@param pattern string "/goods/:id", "/files/*path"
---@param where? string where the definition stands, for the message of a later conflict
---@return neap.http.Route? route
---@return string? problem why it cannot be: a malformed pattern, or a route that is there already
function Router:add(method, pattern, where)
  local segments = split(pattern)
  local problem = check_pattern(pattern, segments)
  if problem then return nil, ("%s %s: %s"):format(method, pattern, problem) end
  local leaf, names = plant(self, segments)
  local other = leaf[method]
  if other then
    return nil, ("%s %s: already defined as %s%s"):format(method, pattern, other.pattern,
      other.where and " at " .. other.where or "")
  end
  local route = { method = method, pattern = pattern, names = names, where = where }
  leaf[method] = route
  if not names[1] then self.statics[pattern] = leaf end
  return route
end

local function of_method(leaf, method)
  return leaf[method] or method == "HEAD" and leaf.GET or leaf["*"]
end

-- The route for a method at a leaf; a leaf that has only other methods is noted.
local function take(self, leaf, method)
  if not leaf then return end
  local route = of_method(leaf, method)
  if route then return route end
  if next(leaf) then
    self.missed = self.missed or {}
    self.missed[#self.missed + 1] = leaf
  end
end

local function climbs(rest)
  return find("/" .. rest .. "/", "/../", 1, true) ~= nil
end

-- `from` is where the segment that chooses among the node's children begins; `depth` counts what is
-- captured already.
local function walk(self, node, path, from, method, depth)
  local slash = find(path, "/", from, true)
  local segment = decode(sub(path, from, (slash or 0) - 1))
  local child = node.children[segment]
  if child then
    local route
    if slash then
      route = walk(self, child, path, slash + 1, method, depth)
    else
      route = take(self, child.leaf, method)
    end
    if route then return route end
  end
  child = node.param
  if child and segment ~= "" then
    self.captures[depth + 1] = segment
    local route
    if slash then
      route = walk(self, child, path, slash + 1, method, depth + 1)
    else
      route = take(self, child.leaf, method)
    end
    if route then return route end
  end
  if node.wild then
    local rest = decode(sub(path, from))
    if climbs(rest) then
      self.climbed = true
      return
    end
    self.captures[depth + 1] = rest
    return take(self, node.wild, method)
  end
end

local function methods_of(leaves)
  local set, list = { OPTIONS = true }, {}
  for _, leaf in ipairs(leaves) do
    for method in pairs(leaf) do
      set[method] = true
      if method == "GET" then set.HEAD = true end
    end
  end
  for method in pairs(set) do list[#list + 1] = method end
  table.sort(list)
  return table.concat(list, ", ")
end

local function search(self, method, path)
  self.missed, self.climbed = nil, nil
  return walk(self, self.root, path, 2, method, 0)
end

---A short way to the routes that take all below "/" or below one literal segment, where nothing else may be
---meant: the routes by method, and where in the path, which stays as it is, what they capture begins.
---@param path string
---@return table<string, neap.http.Route>? leaf
---@return integer? from
function Router:all_below(path)
  local node = self.root
  if byte(path) ~= 47 then return end -- '/'
  if not node.inner then return node.wild, 2 end
  local slash = find(path, "/", 2, true)
  node = slash and self.tops[sub(path, 2, slash - 1)]
  if node and not node.inner then return node.wild, slash + 1 end
end

local function with_params(self, route)
  local names = route.names
  if not names[1] then return route end
  local params = {}
  for i = 1, #names do params[names[i]] = self.captures[i] end
  return route, params
end

---Finds the route for a request. Where there is none the second result is the reason, and the third
---a detail: "not_found"; "method", there are routes for other methods (detail: the Allow header);
---"options", likewise for an OPTIONS request; "redirect", to the path with or without a slash at its
---end (detail: that path); "bad_path".
---@param method string
---@param path string as it came: not decoded, without the query
---@return neap.http.Route? route
---@return table<string, string>|string|nil params what it captured, or the reason
---@return string? detail
function Router:find(method, path)
  local leaf = self.statics[path]
  if leaf then
    local route = of_method(leaf, method)
    if route then return route end
  end
  if byte(path) ~= 47 then -- '/'
    if path == "*" and method == "OPTIONS" then return nil, "options", "" end
    return nil, "bad_path"
  end
  if find(path, "%", 1, true) and malformed(path) then return nil, "bad_path" end
  local route = search(self, method, path)
  if route then return with_params(self, route) end
  if self.climbed then return nil, "bad_path" end
  if self.missed then
    return nil, method == "OPTIONS" and "options" or "method", methods_of(self.missed)
  end
  if self.slash ~= "strict" and #path > 1 then
    local other = sub(path, -1) == "/" and sub(path, 1, -2) or path .. "/"
    route = search(self, method, other)
    if route and self.slash == "redirect" then return nil, "redirect", other end
    if route then return with_params(self, route) end
  end
  return nil, "not_found"
end

return M
