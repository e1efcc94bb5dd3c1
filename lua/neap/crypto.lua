--- Digests, codes of authenticity, encryption, randomness, passwords: what services need of cryptography,
--- from OpenSSL.
---
--- ```lua
--- local tag = crypto.encode("hex", crypto.hmac("sha256", secret, body))
--- if not crypto.equal(tag, given) then return 401 end
---
--- local stored = crypto.hash_password(password)      -- "$scrypt$ln=15,r=8,p=3$…"
--- if crypto.verify_password(password, stored) then … end
--- ```
---
--- Passwords are hashed on a thread of `neap.thread`'s pool, as that takes long on purpose: the task waits,
--- the worker does not.

local core = require "neap.core.crypto"
local schema = require "neap.schema"

---@class neap.crypto
local M = {}
for name, fn in pairs(core) do M[name] = fn end

local has_loop, thread = pcall(require, "neap.thread") -- a thread of the pool has none, and needs none

-- Calls `name` of this module on a thread; here when this is one.
local function elsewhere(name, ...)
  if not has_loop then return core[name](...) end
  return thread.run("neap.crypto:" .. name, table.pack(...))
end

-- Misuse is told here, before anything goes to a thread.
local function integer(name, value, min, max)
  schema.arg(name, value, "integer", 3)
  if value < min or value > max then
    error(("%s: expected between %d and %d, got %d"):format(name, min, max, value), 3)
  end
end

local LENGTH_MAX <const> = 8160
local hashes = { md5 = true, sha1 = true, sha256 = true, sha384 = true, sha512 = true }

-- --- keys

---@class neap.crypto.HkdfOptions
---@field info? string what the key is for: another text gives another key
---@field salt? string

local hkdf_options = schema.new { info = "string", salt = "string" }

---A key made of another one (RFC 5869).
---@param hash "sha256"|"sha384"|"sha512"|"sha1"|"md5"
---@param key string
---@param length integer bytes, at most 8160
---@param opts? neap.crypto.HkdfOptions
---@return string
function M.hkdf(hash, key, length, opts)
  hkdf_options:check(opts)
  opts = opts or {}
  local ok, derived, err = pcall(core.hkdf, hash, key, length, opts.info, opts.salt)
  if not ok then error(derived, 2) end
  return derived, err
end

---A key made of a password (RFC 8018). Waits: it takes long on purpose.
---@param hash "sha256"|"sha384"|"sha512"|"sha1"
---@param password string
---@param salt string
---@param iterations integer
---@param length integer bytes
---@return string? key
---@return neap.Error? err
function M.pbkdf2(hash, password, salt, iterations, length)
  schema.arg("password", password, "string")
  schema.arg("salt", salt, "string")
  if not hashes[hash] then error("hash: no hash " .. tostring(hash), 2) end
  integer("iterations", iterations, 1, 100000000)
  integer("length", length, 1, LENGTH_MAX)
  return elsewhere("pbkdf2", hash, password, salt, iterations, length)
end

---A key made of a password (RFC 7914). Waits: it takes long on purpose, and 128 · cost · block bytes.
---@param password string
---@param salt string
---@param cost integer N: a power of two
---@param block integer r
---@param parallel integer p
---@param length integer bytes
---@return string? key
---@return neap.Error? err
function M.scrypt(password, salt, cost, block, parallel, length)
  schema.arg("password", password, "string")
  schema.arg("salt", salt, "string")
  integer("cost", cost, 2, 1 << 20)
  if cost & (cost - 1) ~= 0 then error("cost: expected a power of two", 2) end
  integer("block", block, 1, 64)
  integer("parallel", parallel, 1, 64)
  integer("length", length, 1, LENGTH_MAX)
  if 128 * cost * block >= 1 << 30 then error("cost: takes more than 1 GiB with that block", 2) end
  return elsewhere("scrypt", password, salt, cost, block, parallel, length)
end

-- --- passwords, in the "PHC" form that other tools read too

local SALT, LENGTH = 16, 32

local function unpadded(bytes) return (core.encode("base64", bytes):gsub("=+$", "")) end

local function padded(text)
  if not text then return nil end
  return (core.decode("base64", text .. ("="):rep(-#text % 4)))
end

---`log_cost`, `block` and `parallel` are scrypt's, by default as OWASP's cheat sheet on password storage has
---them (32 MiB of memory); `iterations` is PBKDF2's, by default 600,000 of SHA-256 from there as well.
---@class neap.crypto.PasswordOptions
---@field algorithm? "scrypt"|"pbkdf2-sha256" default "scrypt"
---@field log_cost? integer default 15
---@field block? integer default 8
---@field parallel? integer default 3
---@field iterations? integer default 600000

local password_options = schema.new {
  algorithm = { "string", enum = { "scrypt", "pbkdf2-sha256" }, default = "scrypt" },
  log_cost = { "integer", min = 1, max = 20, default = 15 },
  block = { "integer", min = 1, max = 32, default = 8 },
  parallel = { "integer", min = 1, max = 64, default = 3 },
  iterations = { "integer", min = 1, max = 100000000, default = 600000 },
}

---A password as it may be stored. Waits.
---@param password string
---@param opts? neap.crypto.PasswordOptions
---@return string? hash "$scrypt$ln=15,r=8,p=3$salt$hash"
---@return neap.Error? err ELIMIT: too many computations wait for a thread
function M.hash_password(password, opts)
  schema.arg("password", password, "string")
  local o = password_options:read(opts)
  local salt = core.random(SALT)
  local head, key, err
  if o.algorithm == "scrypt" then
    head = ("$scrypt$ln=%d,r=%d,p=%d"):format(o.log_cost, o.block, o.parallel)
    key, err = M.scrypt(password, salt, 1 << o.log_cost, o.block, o.parallel, LENGTH)
  else
    head = ("$pbkdf2-sha256$i=%d"):format(o.iterations)
    key, err = M.pbkdf2("sha256", password, salt, o.iterations, LENGTH)
  end
  if not key then return nil, err end
  return ("%s$%s$%s"):format(head, unpadded(salt), unpadded(key))
end

local function small(text, max)
  local n = math.tointeger(tonumber(text))
  return n and n >= 1 and n <= max and n or nil
end

-- What computes the key again, of a stored hash; nothing for one that is none of ours.
local function read_hash(stored)
  local head, salt, key = stored:match "^(%$[%w-]+%$[%w=,]+)%$([%w+/]+)%$([%w+/]+)$"
  salt, key = padded(salt), padded(key)
  if not salt or not key or #key < 16 then return end
  local ln, r, p = head:match "^%$scrypt%$ln=(%d+),r=(%d+),p=(%d+)$"
  ln, r, p = small(ln, 20), small(r, 32), small(p, 64)
  if ln and r and p then
    return key, function(password) return M.scrypt(password, salt, 1 << ln, r, p, #key) end
  end
  local iterations = small(head:match "^%$pbkdf2%-sha256%$i=(%d+)$", 100000000)
  if not iterations then return end
  return key, function(password) return M.pbkdf2("sha256", password, salt, iterations, #key) end
end

---Whether a password is the one that was stored. Waits.
---@param password string
---@param stored string of `hash_password`
---@return boolean? right nil when it could not be found out
---@return neap.Error? err EINVAL: `stored` is no hash; ELIMIT
function M.verify_password(password, stored)
  schema.arg("password", password, "string")
  schema.arg("stored", stored, "string")
  local key, compute = read_hash(stored)
  if not key then
    local task = require "neap.task"
    return nil, task.error("EINVAL", "the stored password is no hash of scrypt or pbkdf2-sha256")
  end
  local got, err = compute(password)
  if not got then return nil, err end
  return core.equal(got, key)
end

return M
