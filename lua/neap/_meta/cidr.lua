---@meta neap.cidr

--- Networks, and lists of them that addresses are looked up in.
---
--- ```lua
--- local inside = neap.cidr.new { "10.0.0.0/8", "fd00::/8", "unix" }
--- if inside:has(stream:peer()) then … end
--- ```
---@class neap.cidr
local cidr = {}

---@class neap.Cidr
local Cidr = {}

---A list: networks ("10.0.0.0/8"), addresses ("::1"), "unix" for all peers on unix sockets, "*" for everybody.
---An IPv4 address that is written as IPv6 (`::ffff:10.0.0.1`) is the IPv4 address. Raises for what is none of
---these, and for a network with bits set outside of its mask.
---@param networks string[]|string|neap.Cidr
---@return neap.Cidr
function cidr.new(networks) end

---@param address string "10.0.0.1", "10.0.0.1:80", "[::1]:80", "unix:/path"
---@return boolean false as well for what is no address
function Cidr:has(address) end

return cidr
