---@meta neap.json

--- JSON, read by simdjson.
---
--- How values correspond: `null` is `json.null` (which is true in a condition); an object is a table
--- with strings as keys; an array is a table with 1 … n. A number without fraction and exponent that
--- fits 64 bits with sign is an integer and exact; up to 2^64 it becomes the nearest float; what no
--- float holds is refused. Strings are UTF-8, and anything else is refused both ways.
---
--- An empty table is written as `{}`, one that `json.array` marked as `[]`; what `decode` makes of `[]`
--- is marked. Floats are written so that they read back as the same float (`3.0` stays one). A table
--- with holes, with keys of both kinds or with itself inside, NaN, infinities and functions have no
--- JSON form. A value whose metatable has `__tojson` is written as what that function returns for it
--- (a value, not text; it cannot wait).
---@class neap.json
---@field null lightuserdata JSON's null
local json = {}

---@class neap.json.EncodeOptions
---@field pretty? boolean line by line, indented by two spaces; default false
---@field sort_keys? boolean the same text for the same value; default false: in the table's own order
---@field max_depth? integer tables in tables; default 128, at most 1000
---@field max_size? integer bytes of text; default 64 MiB

---@class neap.json.DecodeOptions
---@field max_depth? integer arrays and objects in each other; default 128, at most 1000
---@field max_size? integer bytes of text; default 16 MiB

---Writes a value as JSON.
---@param value any
---@param opts? neap.json.EncodeOptions
---@return string? text
---@return neap.Error? err EINVAL with the path of what has no JSON form, or ELIMIT
function json.encode(value, opts) end

---Reads a JSON document.
---@param text string
---@param opts? neap.json.DecodeOptions
---@return any value nil on failure only
---@return neap.Error? err EINVAL or ELIMIT, with what is wrong at which line and column; `err.position` is the byte
function json.decode(text, opts) end

---Marks a table as an array, so that it is written as `[]` when it is empty.
---@generic T: table
---@param t? T default a new table
---@return T t
function json.array(t) end

---Whether a value is written as an array: it is marked, or is a table with a first element.
---@param value any
---@return boolean
function json.is_array(value) end

return json
