---@meta neap.frame

--- Length-prefixed messages over any stream.
---
--- A frame is the header's length, the body's length, the header, the body; without headers
--- (`header_length = 0`) the body's length and the body.
---@class neap.frame
local frame = {}

---@class neap.FrameOptions
---@field header_length? 0|1|2|4|8 bytes of the header's length, 0 for no headers; default 0
---@field body_length? 1|2|4|8 bytes of the body's length; default 4
---@field endian? "big"|"little" order of the bytes of the lengths; default "big"
---@field max_header? integer bytes; default 65536
---@field max_body? integer bytes; default 1 MiB

---Reads and writes frames on a stream, which stays usable itself: what stands before or after the frames
---can be read with its own methods.
---@param stream neap.Stream
---@param opts? neap.FrameOptions
---@return neap.Frames
function frame.wrap(stream, opts) end

---The same format for strings.
---@param opts? neap.FrameOptions
---@return neap.FrameCodec
function frame.codec(opts) end

---@class neap.Frames
local Frames = {}

---Reads a frame. The end of the stream is EOF between two frames and EPROTO inside one. One that is above
---its bounds is ELIMIT, and cannot be skipped: close the stream.
---@param opts? neap.TimeoutOptions
---@return string? body
---@return string|neap.Error|nil header nil where the format has none; after nil the error
function Frames:read(opts) end

---Writes a frame; waits as `stream:write` does.
---@param body string
---@param header? string only where the format has headers; default empty
---@param opts? neap.TimeoutOptions may stand in the place of `header`
---@return true? ok
---@return neap.Error? err ELIMIT when it is above its bounds; what `stream:write` gives
function Frames:write(body, header, opts) end

---The stream it reads from and writes to.
---@return neap.Stream stream
function Frames:stream() end

---Closes the stream.
---@param opts? neap.CloseOptions
function Frames:close(opts) end

---@class neap.FrameCodec
local FrameCodec = {}

---Makes a frame.
---@param body string
---@param header? string only where the format has headers; default empty
---@return string? bytes
---@return neap.Error? err ELIMIT
function FrameCodec:encode(body, header) end

---Takes a frame apart.
---@param bytes string
---@param position? integer where the frame begins; default 1
---@return string? body
---@return string|neap.Error|nil header after nil the error: EAGAIN when it is not whole yet, ELIMIT
---@return integer next position after the frame
function FrameCodec:decode(bytes, position) end

return frame
