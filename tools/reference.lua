-- reference.lua [--check] [DIRECTORY]: makes docs/reference from the LuaCATS annotations of lua/neap.
--
-- A page is a module that a script may require: lua/neap/<name>.lua, lua/neap/<name>/init.lua and
-- lua/neap/_meta/<name>.lua together. It lists the module's documented functions and the classes and
-- aliases that these mention, wherever under lua/neap they are declared. With --check nothing is written;
-- the exit code says whether what stands there is what would be written.

local HIDDEN = { prelude = true, repl = true, test = true } -- no modules for scripts

-- --- reading

local function read_file(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local text = file:read "*a"
  file:close()
  return text
end

local function lua_files()
  local pipe = assert(io.popen "LC_ALL=C; export LC_ALL; find lua/neap -name '*.lua' | sort")
  local files = {}
  for path in pipe:lines() do files[#files + 1] = path end
  pipe:close()
  return files
end

-- "lua/neap/http/init.lua" → "http", "init"; "lua/neap/_meta/http.lua" → "http", nil
local function module_of(path)
  local rest = path:match "^lua/neap/(.*)%.lua$"
  if rest == "init" then return "neap" end
  local meta = rest:match "^_meta/(.*)$"
  if meta then return meta end
  local top, sub = rest:match "^([^/]+)/(.*)$"
  if top then return top, sub ~= "init" and sub or nil end
  return rest
end

local function trim(s) return (s:gsub("^%s+", ""):gsub("%s+$", "")) end

-- A type ends at the first blank that stands in no bracket, and is not around '|' or after ':' or ','.
local function split_type(text)
  local depth, i = 0, 1
  while i <= #text do
    local c = text:sub(i, i)
    if c:find "[%(%[{<]" then depth = depth + 1 end
    if c:find "[%)%]}>]" then depth = depth - 1 end
    if c == " " and depth == 0 then
      local before, after = text:sub(1, i - 1), text:sub(i + 1)
      if not before:find "[:,|]$" and not after:find "^%s*|" then return before, trim(after) end
    end
    i = i + 1
  end
  return text, ""
end

local tags = {}

function tags.param(block, text)
  local name, rest = text:match "^(%S+)%s+(.*)$"
  local kind, words = split_type(rest)
  block.params[#block.params + 1] = { name = name, type = kind, words = words }
end

function tags.field(block, text)
  text = text:gsub("^public%s+", "")
  if text:find "^private%s" or text:find "^protected%s" then return end
  local name, rest = text:match "^(%b[]%??)%s+(.*)$"
  if not name then name, rest = text:match "^(%S+)%s+(.*)$" end
  local kind, words = split_type(rest)
  block.fields[#block.fields + 1] = { name = name, type = kind, words = words }
end

tags["return"] = function(block, text)
  local kind, words = split_type(text)
  block.returns[#block.returns + 1] = { type = kind, words = words }
end

function tags.class(block, text)
  block.class = text:gsub("^%b()%s*", ""):match "^([^%s:]+)"
end

function tags.alias(block, text)
  local name, rest = text:match "^(%S+)%s*(.*)$"
  block.alias, block.alias_type = name, rest
end

function tags.private(block) block.private = true end
tags.package, tags.protected = tags.private, tags.private

local function new_block()
  return { words = {}, params = {}, fields = {}, returns = {} }
end

local function add_line(block, line)
  local tag, text = line:match "^%s*@(%a+)%s*(.*)$"
  if tag then
    if tags[tag] then tags[tag](block, trim(text)) end
  elseif line:find "^%s*|" then
    block.alias_type = trim((block.alias_type or "") .. " " .. trim(line))
  else
    block.words[#block.words + 1] = (line:gsub("^ ", ""))
  end
end

local function words_of(block)
  return trim(table.concat(block.words, "\n"))
end

-- What follows a block of comments: a function of a table, or the table's own declaration.
local function declaration(line)
  local name, args = line:match "^function%s+([%w_.:]+)%s*(%b())"
  if name then return { fn = name, args = args } end
  name, args = line:match "^([%w_.]+)%s*=%s*function%s*(%b())"
  if name then return { fn = name, args = args } end
  name = line:match "^local%s+([%w_]+)%s*=" or line:match "^([%w_.]+)%s*="
  return name and { variable = name }
end

---@return table file { intro, items, classes (variable → class) }
local function parse(path)
  local file = { path = path, items = {}, variables = {}, intro = "" }
  local text = read_file(path)
  local block, first, seen_meta
  local lines = {}
  for line in (text .. "\n"):gmatch "(.-)\r?\n" do lines[#lines + 1] = line end
  local function finish(line)
    block.declares = line and declaration(line)
    local plain = not block.class and not block.alias and not block.declares
    if first == nil or (seen_meta and file.intro == "") then
      local own = block.class == "neap" or (block.class or ""):find "^neap%.%l[%w_]*$"
      if plain or (seen_meta and own) then file.intro = words_of(block) end
    end
    first = false
    if not plain or block.class then file.items[#file.items + 1] = block end
    if block.class and block.declares and block.declares.variable then
      file.variables[block.declares.variable] = block.class
    end
    block = nil
  end
  for _, line in ipairs(lines) do
    local comment = line:match "^%-%-%-(.*)$" or (first == nil and line:match "^%-%-(.*)$")
    if comment and comment:find "^@meta" then
      seen_meta, first = true, false
    elseif comment then
      block = block or new_block()
      add_line(block, comment)
    elseif block then
      finish(line ~= "" and line or nil)
    elseif line ~= "" then
      first = false
    end
  end
  if block then finish() end
  return file
end

-- --- gathering

local pages, page_names = {}, {}
local classes, class_names = {}, {} -- name → { name, words, fields, methods, page, alias }

local function page_of(name)
  if not pages[name] then
    local title = name == "neap" and "neap" or "neap." .. name
    pages[name] = { name = name, title = title, intro = "", functions = {} }
    page_names[#page_names + 1] = name
  end
  return pages[name]
end

local function class_of(name, page)
  if not classes[name] then
    classes[name] = { name = name, fields = {}, methods = {}, page = page, words = "" }
    class_names[#class_names + 1] = name
  end
  return classes[name]
end

local function add_class(block, page)
  local class = class_of(block.class or block.alias, page)
  if class.words == "" then class.words = words_of(block) end
  class.alias = block.alias_type
  for _, field in ipairs(block.fields) do class.fields[#class.fields + 1] = field end
end

-- The table that `owner` names in this file: the module itself, or a class.
local function add_function(block, file, page, sub)
  local owner, mark, name = block.declares.fn:match "^(.-)([.:])([%w_]+)$"
  if not owner or name:find "^_" or block.private then return end
  local entry = { name = name, args = block.declares.args, block = block, method = mark == ":" }
  local class = file.variables[owner]
  if class and class ~= page.title then
    local methods = class_of(class, page).methods
    methods[#methods + 1] = entry
  elseif owner == "methods" and file.path:find "response%.lua$" then
    local methods = class_of("neap.http.Response", page).methods
    entry.method = true
    methods[#methods + 1] = entry
  elseif not sub then
    page.functions[#page.functions + 1] = entry
  end
end

local function documented(block)
  return words_of(block) ~= "" or block.params[1] or block.returns[1]
end

local function gather(path)
  local name, sub = module_of(path)
  if HIDDEN[name] then return end
  local file = parse(path)
  local page = page_of(name)
  local better = not path:find("/_meta/", 1, true) or page.intro == ""
  if not sub and better and file.intro ~= "" then page.intro = file.intro end
  for _, block in ipairs(file.items) do
    local own = block.class == page.title
    if (block.class or block.alias) and not own then add_class(block, page) end
    if own then
      page.own = page.own or {}
      for _, field in ipairs(block.fields) do page.own[#page.own + 1] = field end
    end
    if block.declares and block.declares.fn and documented(block) then
      add_function(block, file, page, sub)
    end
  end
end

-- --- writing

local NOTE = "<!-- Made by tools/reference.lua from the annotations; do not edit. -->"

local function anchor(title)
  return (title:lower():gsub("[^%w _-]", ""):gsub(" ", "-"))
end

local function names_in(kind)
  local names = {}
  for name in kind:gmatch "neap[%w_.]*" do
    if classes[name] then names[#names + 1] = name end
  end
  return names
end

local function each_type(item, visit)
  for _, list in ipairs { item.params or {}, item.returns or {}, item.fields or {} } do
    for _, x in ipairs(list) do visit(x.type) end
  end
  if item.alias then visit(item.alias) end
end

-- The classes that a page's functions mention, and those that these mention, in that order.
local function reachable(page)
  local order, seen = {}, {}
  local function visit(kind)
    for _, name in ipairs(names_in(kind)) do
      local class = classes[name]
      if not seen[name] then
        seen[name] = true
        if class.page == page then order[#order + 1] = class end
        each_type(class, visit)
        for _, method in ipairs(class.methods) do each_type(method.block, visit) end
      end
    end
  end
  for _, entry in ipairs(page.functions) do each_type(entry.block, visit) end
  if page.own then each_type({ fields = page.own }, visit) end
  return order
end

local function link(kind, page)
  local module = kind:match "^neap%.(%l[%w_]*)$"
  if module and pages[module] then return ("[`%s`](%s.md)"):format(kind, module) end
  local text = "`" .. kind:gsub("|", "\\|") .. "`"
  local names, seen = {}, {}
  for _, name in ipairs(names_in(kind)) do
    local class = classes[name]
    if class.shown and not seen[name] then
      seen[name] = true
      local file = class.page == page and "" or class.page.name .. ".md"
      local whole = kind:gsub("[?%[%]]+$", "") == name
      local link_text = whole and text or "→"
      names[#names + 1] = ("[%s](%s#%s)"):format(link_text, file, anchor(name))
      if whole then return names[1] end
    end
  end
  return text .. (names[1] and " " .. table.concat(names, " ") or "")
end

local function emit(out, ...)
  for _, text in ipairs { ... } do out[#out + 1] = text end
end

local function cell(text) return (text:gsub("\n", " "):gsub("|", "\\|")) end

local function emit_fields(out, list, page, heading)
  if not list[1] then return end
  emit(out, ("| %s | type | |"):format(heading), "| --- | --- | --- |")
  for _, x in ipairs(list) do
    emit(out, ("| `%s` | %s | %s |"):format(x.name, link(x.type, page), cell(x.words)))
  end
  emit(out, "")
end

local function emit_returns(out, list, page)
  if not list[1] then return end
  emit(out, "Returns:", "")
  for _, x in ipairs(list) do
    emit(out, trim(("- %s %s"):format(link(x.type, page), x.words)))
  end
  emit(out, "")
end

local function emit_function(out, entry, prefix, page)
  local args = entry.args:gsub("%s+", " ")
  emit(out, ("### %s%s%s"):format(prefix, entry.name, args), "")
  local block = entry.block
  local words = words_of(block)
  if words ~= "" then emit(out, words, "") end
  emit_fields(out, block.params, page, "parameter")
  emit_returns(out, block.returns, page)
end

local function emit_class(out, class, page)
  emit(out, "## " .. class.name, "")
  if class.words ~= "" then emit(out, class.words, "") end
  if class.alias and class.alias ~= "" then emit(out, link(class.alias, page), "") end
  emit_fields(out, class.fields, page, "field")
  local short = class.name:match "[%w_]+$":lower()
  for _, method in ipairs(class.methods) do
    emit_function(out, method, short .. (method.method and ":" or "."), page)
  end
end

local function render(page, shown)
  local out = {}
  emit(out, "# " .. page.title, "", NOTE, "")
  if page.intro ~= "" then emit(out, page.intro, "") end
  if page.own then emit_fields(out, page.own, page, "field") end
  if page.functions[1] then emit(out, "## Functions", "") end
  for _, entry in ipairs(page.functions) do emit_function(out, entry, page.title .. ".", page) end
  for _, class in ipairs(shown) do emit_class(out, class, page) end
  return (table.concat(out, "\n"):gsub("\n+$", "")) .. "\n"
end

local function render_index(names)
  local out = { "# Reference", "", NOTE, "" }
  emit(out, "Every module of the standard library. `neap.http` is `require \"neap.http\"`, or `neap.http`",
    "after `local neap = require \"neap\"`.", "")
  for _, name in ipairs(names) do
    local page = pages[name]
    local intro = page.intro:gsub("\n", " ")
    emit(out, ("- [%s](%s.md): %s"):format(page.title, name, intro:match "^(.-%.) " or intro))
  end
  return table.concat(out, "\n") .. "\n"
end

-- --- main

local function all_pages()
  for _, path in ipairs(lua_files()) do gather(path) end
  local reached, names = {}, {}
  table.sort(page_names)
  for _, name in ipairs(page_names) do
    local page = pages[name]
    reached[name] = reachable(page)
    if page.functions[1] or reached[name][1] or page.own then names[#names + 1] = name end
  end
  -- Types that several modules use and none of these declares stand on the page of neap itself.
  local listed = {}
  for _, name in ipairs(names) do
    for _, class in ipairs(reached[name]) do listed[class] = true end
  end
  for _, name in ipairs(class_names) do
    local class = classes[name]
    if class.page.name == "neap" and not listed[class] then table.insert(reached.neap, class) end
  end
  for _, name in ipairs(names) do
    for _, class in ipairs(reached[name]) do class.shown = true end
  end
  local texts = { ["README.md"] = render_index(names) }
  for _, name in ipairs(names) do texts[name .. ".md"] = render(pages[name], reached[name]) end
  return texts
end

local function stale(directory, texts)
  local list = {}
  for name, text in pairs(texts) do
    if read_file(directory .. "/" .. name) ~= text then list[#list + 1] = name end
  end
  local pipe = assert(io.popen(("find '%s' -name '*.md' 2>/dev/null"):format(directory)))
  for path in pipe:lines() do
    if not texts[path:match "[^/]+$"] then list[#list + 1] = path:match "[^/]+$" end
  end
  pipe:close()
  table.sort(list)
  return list
end

local function main(...)
  local check, directory = false, "docs/reference"
  for _, argument in ipairs { ... } do
    if argument == "--check" then check = true else directory = argument end
  end
  local texts = all_pages()
  local list = stale(directory, texts)
  if check then
    for _, name in ipairs(list) do
      print(directory .. "/" .. name .. ": not what the annotations say")
    end
    if list[1] then print "run tools/reference.lua" end
    os.exit(list[1] and 1 or 0)
  end
  os.execute(("mkdir -p '%s'"):format(directory))
  for _, name in ipairs(list) do
    local path = directory .. "/" .. name
    if texts[name] then
      local file = assert(io.open(path, "wb"))
      file:write(texts[name])
      file:close()
      print(path)
    else
      os.remove(path)
      print(path .. " (removed)")
    end
  end
end

main(...)
