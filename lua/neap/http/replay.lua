--- The body of a request that comes in pieces, kept as far as a bound goes, so that another attempt can send
--- it again. Strings need nothing of this.
---
--- An attempt reads what was kept and then goes on where the last one stopped. Once more came than the bound
--- allows nothing is kept, and the body can be sent no second time.

local M = {}

---@class neap.http.Replay
---@field begun boolean a piece was asked for
---@field complete boolean all of it is here
---@field over boolean it is larger than the bound
---@field failed boolean its source failed
local Replay = {}
Replay.__index = Replay

---@param source fun(): string?, any
---@param max integer bytes that are kept; 0: none
---@return neap.http.Replay
function M.new(source, max)
  return setmetatable({
    source = source, max = max, pieces = {}, size = 0,
    begun = false, complete = false, over = false, failed = false,
  }, Replay)
end

-- The next piece of the source, which is kept.
local function next_piece(self)
  self.begun = true
  local piece, err = self.source()
  if piece == nil then
    if err ~= nil then
      self.failed = true
    else
      self.complete = true
    end
    return nil, err
  end
  if self.over then return piece end
  self.size = self.size + #piece
  if self.size > self.max then
    self.over, self.pieces = true, nil
  else
    self.pieces[#self.pieces + 1] = piece
  end
  return piece
end

---Whether another attempt can send all of it.
---@return boolean
function Replay:again() return not self.begun or not (self.over or self.failed) end

---What gives the pieces to one attempt. At most one that goes on with the source may be in use.
---@return fun(): string?, any
function Replay:reader()
  local i = 0
  return function()
    i = i + 1
    local kept = self.pieces
    if kept and i <= #kept then return kept[i] end
    if self.complete then return nil end
    return next_piece(self)
  end
end

return M
