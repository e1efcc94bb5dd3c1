-- Certificates for specs: `neap cert` makes an authority and what it signs, in a directory that goes with
-- `remove`. Loaded with dofile from the project's directory.

local M = {}

local function output_of(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read "a"
  local ok = pipe:close()
  return ok and text or nil, text
end

local neap = os.getenv "NEAP" or output_of("readlink /proc/$PPID/exe"):gsub("\n$", "")

local Certs = {}
Certs.__index = Certs

---A directory with an authority.
function M.new()
  local dir = output_of("mktemp -d"):gsub("\n$", "")
  return setmetatable({ dir = dir, ca = dir .. "/ca/ca.pem" }, Certs)
end

---A server's certificate for the names; gives the options of a context. `more` are options of `neap cert`.
function Certs:make(kind, names, more)
  local out = ("%s/%s"):format(self.dir, (kind .. names):gsub("[^%w]", "_"))
  local command = ("ASAN_OPTIONS=detect_leaks=0 '%s' cert --ca '%s/ca' --out '%s' %s %s %s 2>&1"):format(
    neap, self.dir, out, more or "", kind, names)
  local ok, text = output_of(command)
  assert(ok, text)
  local key = output_of(("ls '%s'/*key*"):format(out)):match "[^\n]+"
  local cert
  for path in output_of(("ls '%s'/*.pem"):format(out)):gmatch "[^\n]+" do
    if not path:find("key", 1, true) then cert = path end
  end
  return { cert = assert(cert), key = assert(key) }
end

function Certs:server(names) return self:make("server", names) end
function Certs:client(names) return self:make("client", names) end

---The authority's list of revoked certificates, issued anew, with one more if a path is given; its path.
function Certs:crl(revoked)
  local more = revoked and ("--revoke '%s'"):format(revoked) or ""
  local command = "ASAN_OPTIONS=detect_leaks=0 '%s' cert crl --ca '%s/ca' %s 2>&1"
  command = command:format(neap, self.dir, more)
  local ok, text = output_of(command)
  assert(ok, text)
  return self.dir .. "/ca/crl.pem"
end

function Certs:remove()
  os.execute(("rm -rf '%s'"):format(self.dir))
end

return M
