---@meta neap.crypto

---@class neap.crypto
local crypto = {}

---@alias neap.crypto.Hash "md5"|"sha1"|"sha256"|"sha384"|"sha512" the first two for what exists already only

---@param hash neap.crypto.Hash
---@param data string
---@return string bytes
function crypto.digest(hash, data) end

---A digest of data that comes piece by piece.
---@param hash neap.crypto.Hash
---@return neap.crypto.Hasher
function crypto.hasher(hash) end

---@class neap.crypto.Hasher
local Hasher = {}

---@param data string
---@return neap.crypto.Hasher self
function Hasher:update(data) end

---The digest; then it takes no more.
---@return string bytes
function Hasher:final() end

---@param hash neap.crypto.Hash
---@param key string
---@param data string
---@return string bytes
function crypto.hmac(hash, key, data) end

---Whether two texts are the same, in a time that says nothing about where they differ.
---@param a string
---@param b string
---@return boolean
function crypto.equal(a, b) end

---Bytes that nobody can guess.
---@param n integer at most 1048576
---@return string bytes
function crypto.random(n) end

---A random UUID (version 4).
---@return string
function crypto.uuid() end

---@alias neap.crypto.Encoding "base64"|"base64url"|"hex" base64 with padding, base64url without

---@param encoding neap.crypto.Encoding
---@param bytes string
---@return string text
function crypto.encode(encoding, bytes) end

---@param encoding neap.crypto.Encoding
---@param text string without blanks or line ends
---@return string? bytes
---@return neap.Error? err EINVAL
function crypto.decode(encoding, text) end

---@class neap.crypto.SealOptions
---@field cipher? "aes-256-gcm"|"aes-128-gcm"|"chacha20-poly1305" default "aes-256-gcm"
---@field aad? string what is not encrypted but must be the same when it is opened
---@field nonce? string 12 bytes, of `seal` alone: never the same twice with one key; default: random, which is
---good for 2^32 texts a key

---Encrypts so that nobody can read or change it unnoticed: nonce, ciphertext and tag, 28 bytes more than the text.
---@param key string 32 bytes, 16 for aes-128-gcm
---@param text string
---@param opts? neap.crypto.SealOptions
---@return string sealed
function crypto.seal(key, text, opts) end

---@param key string
---@param sealed string
---@param opts? neap.crypto.SealOptions
---@return string? text
---@return neap.Error? err EINVAL: sealed with another key, or changed
function crypto.open(key, sealed, opts) end

return crypto
