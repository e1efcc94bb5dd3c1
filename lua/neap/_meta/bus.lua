---@meta neap.bus

--- The bus: messages by subject. Every host has one; `serve` makes it reachable for NATS clients, and
--- `connect` joins it to a remote bus, another neap's or a nats-server.
---
--- A subject is a name in tokens, "orders.eu.created". In a pattern the token `*` stands for any one
--- token, and a last token `>` for one or more. A message goes to every subscription whose pattern takes
--- its subject and to one member of each queue group. Delivery is at most once.
---
--- The workers of a host have one bus: what one publishes reaches the subscriptions of all, in order, and a queue
--- group's members may be in any of them. A worker that does not read for so long that 64 MiB are under way to it
--- loses messages, and the log says so. Over a reload, subscriptions go from the old code to the new, and no message
--- is missed or handled twice.
---@class neap.bus
local bus = {}

---@class neap.bus.Message
---@field subject string
---@field data string
---@field reply? string the subject to answer on, if an answer is wanted
---@field headers table<string, string|string[]> several of one name are an array; names keep their case
---@field status? integer of a message that says that something failed, such as 503
local Message = {}

---Answers a message that wants an answer.
---@param data? string|number
---@param opts? { headers?: table<string, string|string[]> }
---@return true? ok
---@return neap.Error? err EINVAL when the message wants no answer; as for publish
function Message:respond(data, opts) end

---@class neap.bus.PublishOptions
---@field reply? string a subject to be answered on
---@field headers? table<string, string|number|(string|number)[]>

---Publishes a message and returns at once; no subscriber runs meanwhile.
---@param subject string
---@param data? string|number a table must be encoded first, as with neap.json.encode
---@param opts? neap.bus.PublishOptions
---@return true? ok
---@return neap.Error? err EMSGSIZE (more than 1 MiB), ELIMIT (a connected bus is away and the buffer is full)
function bus.publish(subject, data, opts) end

---@class neap.bus.RequestOptions
---@field timeout? number seconds, default 1; false: none
---@field headers? table<string, string|number|(string|number)[]>

---Publishes a message and waits for the first answer.
---@param subject string
---@param data? string|number
---@param opts? neap.bus.RequestOptions
---@return neap.bus.Message? answer
---@return neap.Error? err ENORESPONDERS (nobody listens), ETIMEDOUT; as for publish
function bus.request(subject, data, opts) end

---@class neap.bus.SubscribeOptions
---@field queue? string a group, of which one member gets each message
---@field max? integer ends after so many messages
---@field concurrency? integer how many handlers may run at a time; default 1: one after the other
---@field pending_messages? integer how many may wait for their handler, default 65536; 0: no bound
---@field pending_bytes? integer how many bytes of messages may wait, default 64 MiB; 0: no bound

---Subscribes. Each message is handled in a task of its own, started in order; an error ends that task
---alone and is logged. Messages for which there is no room are dropped and counted (`stats().dropped`), and the
---log says so. Without a function, ask for messages with `next`, or `for msg in subscription do`; such a
---subscription ends when nobody holds it any more.
---@param pattern string
---@param fn? fun(msg: neap.bus.Message)
---@param opts? neap.bus.SubscribeOptions
---@return neap.bus.Subscription? subscription
---@return neap.Error? err
function bus.subscribe(pattern, fn, opts) end

---@class neap.bus.Subscription
---@field pattern string
---@field queue? string
---@field closed boolean
local Subscription = {}

---Waits for the next message of a subscription without a function.
---@param opts? { timeout?: number }|number seconds; 0: only if one is there
---@return neap.bus.Message? msg
---@return neap.Error? err ETIMEDOUT, ECLOSED (it has ended)
function Subscription:next(opts) end

---Takes no more messages; those that wait are still handled, then it is closed.
function Subscription:drain() end

---Ends it at once: what waits is dropped, handlers that run go on. It may be called twice.
function Subscription:unsubscribe() end

---The same as unsubscribe.
function Subscription:close() end

---@class neap.bus.SubscriptionStats
---@field received integer messages it got
---@field dropped integer messages it had no room for; in a group another member may have got them
---@field pending_messages integer
---@field pending_bytes integer
---@field running integer handlers
---@field slow boolean whether it was full and is not half empty since

---@return neap.bus.SubscriptionStats
function Subscription:stats() end

---Waits until what was published before has been handed over here and in the other workers and, when connected,
---has arrived there.
---@param opts? { timeout?: number } seconds, default 5
---@return true? ok
---@return neap.Error? err ETIMEDOUT, ENOTCONN, ECONNRESET
function bus.flush(opts) end

---A subject of one's own to be answered on, for those who collect several answers.
---@return string
function bus.inbox() end

---@class neap.bus.Stats
---@field subscriptions integer
---@field published integer
---@field published_bytes integer
---@field delivered integer messages put on a subscription's queue; one that several get counts often
---@field dropped integer messages for which a queue, or the way to another worker, had no room
---@field forwarded integer messages sent to other workers

---@return neap.bus.Stats stats of this worker
function bus.stats() end

---@class neap.bus.ServeOptions
---@field host? string default "127.0.0.1"
---@field port? integer default 4222; 0 picks a free one
---@field name? string told to clients; default "neap"
---@field max_clients? integer default 65536
---@field max_subscriptions? integer of one client; default 65536
---@field max_pending? integer bytes waiting for a client, default 64 MiB; it is closed as a slow consumer then
---@field max_control_line? integer bytes of a protocol line; default 4096
---@field ping_interval? number seconds, default 120; a silent client is asked whether it is there
---@field max_pings? integer unanswered ones, default 2; then it is closed
---@field write_timeout? number seconds that bytes may wait for a client and none leave; default 10

---Makes the bus reachable for NATS clients: core NATS, with headers, queue groups and no-responders. Each worker
---serves some of the clients of one port; they notice neither that nor a reload.
---@param opts? neap.bus.ServeOptions
---@return neap.bus.Server? server
---@return neap.Error? err EADDRINUSE …
function bus.serve(opts) end

---@class neap.bus.Server
---@field address string "127.0.0.1:4222"
---@field url string "nats://127.0.0.1:4222"
---@field port integer
---@field closed boolean
local Server = {}

---Closes it and waits for the end; what clients are owed is still sent.
---@return true
function Server:close() end

---@return { clients: integer, accepted: integer, refused: integer, slow_consumers: integer, stale: integer }
function Server:stats() end

---@alias neap.bus.Status "connecting"|"connected"|"away"|"failed"|"closed"

---@class neap.bus.ConnectOptions
---@field retry? boolean default true: returns at once and tries until it is there; false: waits for one attempt
---@field timeout? number seconds for an attempt; default 5
---@field name? string told to the remote; default "neap"
---@field reconnect_min? number seconds of the first pause, default 0.1; it doubles, with jitter
---@field reconnect_max? number seconds, default 5
---@field max_away? integer bytes of messages kept while away, default 8 MiB; more fail with ELIMIT
---@field max_pending? integer bytes of messages waiting to be sent, default 64 MiB; more fail with ELIMIT
---@field ping_interval? number seconds; default 120
---@field max_pings? integer default 2
---@field on_status? fun(status: neap.bus.Status, err: neap.Error?) told of connected, away and failed

---Joins the bus to a remote one. From then on what is published here goes there alone and comes back to the
---subscriptions here, so that each message comes once and queue groups balance over all processes. While the
---remote is away, messages are kept and sent in order afterwards. One connection at a time; a remote that is itself
---connected to this bus is refused, and so is this host itself.
---
---Each worker that connects has a connection of its own, and exchanges messages with the other workers over the
---remote. A reload that connects to the same place with the same options takes the connection over; another one is
---made ready beside it, and takes its place when the new code does.
---@param url string "nats://host:port"
---@param opts? neap.bus.ConnectOptions
---@return neap.bus.Connection? connection
---@return neap.Error? err EBUSY, ECONNREFUSED, ETIMEDOUT, EPROTO …
function bus.connect(url, opts) end

---@class neap.bus.Connection
---@field status neap.bus.Status
---@field connected boolean
---@field address string
---@field error? neap.Error why it is not connected
local Connection = {}

---Waits until it is connected and its subscriptions are in place.
---@param opts? { timeout?: number } seconds, default 5
---@return true? ok
---@return neap.Error? err
function Connection:ready(opts) end

---Leaves the remote bus and waits for the end; what was published is still sent.
---@return true
function Connection:close() end

return bus
