---@meta neap.udp

--- UDP: datagrams. They may be lost, doubled and out of order; nothing here hides that.
---
--- Several workers that open the same port share it: each gets the datagrams of some of the peers, and of a multicast
--- group every one. Over a reload the new code has the same socket, and what waits in it. A port that was asked for as 0
--- is a socket's own.
---@class neap.udp
local udp = {}

---@class neap.UdpOptions
---@field host? string an address or "localhost"; default "127.0.0.1"
---@field port? integer 0 picks a free one; default 0
---@field reuse_port? boolean several sockets may share it; default false
---@field v6_only? boolean for "::", not IPv4 as well; default false
---@field broadcast? boolean may send to broadcast addresses; default false
---@field recv_buffer? integer bytes of the kernel's buffer; default the system's
---@field send_buffer? integer bytes of the kernel's buffer; default the system's
---@field max_queue? integer bytes that wait to be received, then datagrams are dropped; default 1 MiB
---@field multicast_ttl? integer hops; default 1
---@field multicast_loop? boolean hears its own multicasts; default true

---@param opts? neap.UdpOptions
---@return neap.UdpSocket? socket
---@return neap.Error? err EADDRINUSE …
function udp.open(opts) end

---@class neap.UdpSocket
---@field address string "127.0.0.1:53"; nil when closed
---@field port integer nil when closed
---@field dropped integer datagrams that found the queue full
---@field closed boolean
local UdpSocket = {}

---Sends a datagram; does not wait.
---@param data string at most 65507 bytes (IPv4)
---@param host? string an address or "localhost"; none: the connected peer
---@param port? integer
---@return true? ok
---@return neap.Error? err EMSGSIZE, EAGAIN (1 MiB is queued), ENOTCONN, EINVAL for a name …
function UdpSocket:send(data, host, port) end

---Waits for a datagram. Several tasks may wait; each gets the next one. What the network says of a datagram
---sent earlier (ECONNREFUSED) fails the next receive; the socket lives on.
---@param opts? neap.TimeoutOptions
---@return string? data
---@return string|neap.Error host of the sender; after nil the error: ETIMEDOUT, ECONNREFUSED, ECLOSED
---@return integer port of the sender
function UdpSocket:recv(opts) end

---Fixes the peer: `send` needs no address, and only its datagrams are received.
---@param host string
---@param port integer
---@return true? ok
---@return neap.Error? err
function UdpSocket:connect(host, port) end

---Joins a multicast group.
---@param group string its address
---@param interface? string the address of the interface; default the system's choice
---@return true? ok
---@return neap.Error? err
function UdpSocket:join(group, interface) end

---@param group string
---@param interface? string
---@return true? ok
---@return neap.Error? err
function UdpSocket:leave(group, interface) end

---May be called twice; `<close>` does it too.
function UdpSocket:close() end

return udp
