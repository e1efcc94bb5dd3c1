---@meta neap.coding

--- Content codings: gzip, deflate, br (brotli) and zstd, both ways, at once or piece by piece.
---
--- Coding many megabytes at once keeps the loop busy; do it in pieces with `neap.task.yield()` between, or
--- in `neap.thread`, which has this module too. HTTP does it by itself: `neap.http.compress`,
--- `neap.http.decompress` and the client's `decompress`.
---
--- ```lua
--- local small = neap.coding.compress(text, "zstd")
--- local text, err = neap.coding.decompress(small, "zstd", { max = 1 << 20 })
--- ```
---@class neap.coding
local coding = {}

---@alias neap.Coding "gzip"|"deflate"|"br"|"zstd"

---`level`: 1 to 9 for gzip and deflate (default 5), 0 to 11 for br (default 4), 1 to 19 for zstd (default 3).
---@class neap.EncoderOptions
---@field level? integer
---@field size? integer a guess of the bytes in all, to spare memory

---`max_ratio` counts once 1 MiB came out.
---@class neap.DecoderOptions
---@field max? integer bytes that may come out; default 0: no bound
---@field max_ratio? integer bytes that may come out for each that went in; default 200, 0: no bound
---@field max_window? integer log2 of how many bytes back br and zstd may refer; default 24 and 23

---@param data string
---@param name neap.Coding
---@param level? integer|neap.EncoderOptions
---@return string
function coding.compress(data, name, level) end

---`codings` may name several, as a Content-Encoding header does, in the order they were applied. deflate may
---lack its header, as some servers have it; gzip and zstd may have several members. No data is taken for an
---empty text.
---@param data string
---@param codings neap.Coding|string
---@param opts? neap.DecoderOptions
---@return string? text
---@return neap.Error? err EPROTO: damaged, cut off, or something follows; ELIMIT
function coding.decompress(data, codings, opts) end

---@param name neap.Coding
---@param level? integer|neap.EncoderOptions
---@return neap.Encoder
function coding.encoder(name, level) end

---@param codings neap.Coding|string
---@param opts? neap.DecoderOptions
---@return neap.Decoder
function coding.decoder(codings, opts) end

---Which of `offered` suits an Accept-Encoding header best: the highest weight, of equal ones the first.
---@param accept string? the header; nil: there is none
---@param offered neap.Coding[]
---@return neap.Coding? name nil: it goes out as it is
function coding.negotiate(accept, offered) end

---@class neap.Encoder
local Encoder = {}

---@param data string
---@return string piece what has come out, often nothing yet
function Encoder:write(data) end

---@param data? string
---@return string piece after which all that was written can be decoded
function Encoder:flush(data) end

---Ends it; nothing may be written after.
---@param data? string
---@return string piece
function Encoder:finish(data) end

---For one that is not brought to its end: gives its memory back. Idempotent.
function Encoder:close() end

---After a failure it can only be closed.
---@class neap.Decoder
local Decoder = {}

---@param data string
---@return string? text all that comes of it
---@return neap.Error? err EPROTO, ELIMIT
function Decoder:write(data) end

---Nothing follows: checks that the data is whole.
---@param data? string
---@return string? text the rest
---@return neap.Error? err EPROTO, ELIMIT
function Decoder:finish(data) end

---Gives it data of which `read` decodes as much as is asked for; all of it has to be read before more is fed.
---@param data string
function Decoder:feed(data) end

---@param max? integer bytes; default 65536
---@return string? piece nil: it has to be fed more
---@return neap.Error? err EPROTO, ELIMIT
function Decoder:read(max) end

---For one that is not brought to its end: gives its memory back. Idempotent.
function Decoder:close() end

return coding
