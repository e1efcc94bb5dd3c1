local crypto = require "neap.crypto"
local neap = require "neap"

local function hex(bytes) return crypto.encode("hex", bytes) end
local function bytes(text) return assert(crypto.decode("hex", text)) end

describe("crypto", function()
  it("digests", function()
    assert.equal("900150983cd24fb0d6963f7d28e17f72", hex(crypto.digest("md5", "abc")))
    assert.equal("a9993e364706816aba3e25717850c26c9cd0d89d", hex(crypto.digest("sha1", "abc")))
    assert.equal("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
      hex(crypto.digest("sha256", "abc")))
    assert.equal("cb00753f45a35e8bb5a03d699ac65007", hex(crypto.digest("sha384", "abc")):sub(1, 32))
    assert.equal("ddaf35a193617abacc417349ae204131", hex(crypto.digest("sha512", "abc")):sub(1, 32))
    assert.error_matches(function() crypto.digest("sha3", "abc") end, "invalid option 'sha3'")
  end)

  it("digests what comes piece by piece", function()
    local hasher = crypto.hasher "sha256"
    assert.equal(hasher, hasher:update "a")
    hasher:update "":update "bc"
    assert.equal(crypto.digest("sha256", "abc"), hasher:final())
    assert.error_matches(function() hasher:update "x" end, "already taken")
    assert.error_matches(function() hasher:final() end, "already taken")
    assert.equal("neap.crypto.hasher (taken)", tostring(hasher))
  end)

  it("authenticates", function() -- RFC 4231, 2; RFC 2202
    assert.equal("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
      hex(crypto.hmac("sha256", "Jefe", "what do ya want for nothing?")))
    assert.equal("effcdf6ae5eb2fa2d27416d5f184df9c259a7c79",
      hex(crypto.hmac("sha1", "Jefe", "what do ya want for nothing?")))
    assert.equal("b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad",
      hex(crypto.hmac("sha256", "", "")))
  end)

  it("compares", function()
    assert.is_true(crypto.equal("", ""))
    assert.is_true(crypto.equal("a\0b", "a\0b"))
    assert.is_false(crypto.equal("a\0b", "a\0c"))
    assert.is_false(crypto.equal("a", "ab"))
  end)

  it("gives random bytes", function()
    assert.equal(0, #crypto.random(0))
    assert.equal(32, #crypto.random(32))
    assert.not_equal(crypto.random(16), crypto.random(16))
    assert.error_matches(function() crypto.random(-1) end, "between 0")
    assert.matches("^%x+%-%x+%-4%x%x%x%-[89ab]%x%x%x%-%x+$", crypto.uuid())
    assert.equal(36, #crypto.uuid())
  end)

  it("encodes and decodes", function()
    for _, form in ipairs { "base64", "base64url", "hex" } do
      for n = 0, 40 do
        local data = crypto.random(n)
        assert.equal(data, crypto.decode(form, crypto.encode(form, data)))
      end
      local text, err = crypto.decode(form, "not it!")
      assert.is_nil(text)
      assert.equal("EINVAL", err.code)
    end
    assert.equal("+/8=", crypto.encode("base64", "\xfb\xff"))
    assert.equal("-_8", crypto.encode("base64url", "\xfb\xff"))
  end)

  describe("seal", function()
    it("is opened with the same key alone", function()
      for cipher, size in pairs { ["aes-256-gcm"] = 32, ["aes-128-gcm"] = 16, ["chacha20-poly1305"] = 32 } do
        local key = crypto.random(size)
        for _, text in ipairs { "", "x", ("secret"):rep(1000) } do
          local sealed = crypto.seal(key, text, { cipher = cipher, aad = "for you" })
          assert.equal(#text + 28, #sealed)
          assert.equal(text, crypto.open(key, sealed, { cipher = cipher, aad = "for you" }))
          assert.is_nil((crypto.open(key, sealed, { cipher = cipher, aad = "for me" })))
          assert.is_nil((crypto.open(crypto.random(size), sealed, { cipher = cipher, aad = "for you" })))
        end
      end
    end)

    it("shows that it was changed, wherever", function()
      local key = crypto.random(32)
      local sealed = crypto.seal(key, "hello")
      for i = 1, #sealed do
        local changed = sealed:sub(1, i - 1) .. string.char(sealed:byte(i) ~ 1) .. sealed:sub(i + 1)
        local text, err = crypto.open(key, changed)
        assert.is_nil(text)
        assert.equal("EINVAL", err.code)
      end
      for i = 0, #sealed - 1 do assert.is_nil((crypto.open(key, sealed:sub(1, i)))) end
    end)

    -- McGrew, Viega: the GCM specification, test case 14; RFC 8439, 2.8.2
    it("is what the standard says", function()
      local sealed = crypto.seal(("\0"):rep(32), ("\0"):rep(16), { nonce = ("\0"):rep(12) })
      assert.equal("cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919", hex(sealed:sub(13)))
      sealed = crypto.seal(bytes "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f",
        "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
          .. "sunscreen would be it.", {
          cipher = "chacha20-poly1305",
          nonce = bytes "070000004041424344454647",
          aad = bytes "50515253c0c1c2c3c4c5c6c7",
        })
      assert.equal("1ae10b594f09e26a7e902ecbd0600691", hex(sealed:sub(-16)))
    end)

    it("refuses what makes no sense", function()
      assert.error_matches(function() crypto.seal("short", "x") end, "expected 32 bytes")
      local key = ("k"):rep(32)
      assert.error_matches(function() crypto.seal(key, "x", { cipher = "rot13" }) end, "no cipher 'rot13'")
      assert.error_matches(function() crypto.seal(key, "x", { nonce = "1" }) end, "12 bytes")
      assert.error_matches(function() crypto.seal(key, "x", { what = 1 }) end, "opts.what")
    end)
  end)

  it("derives keys", function() -- RFC 5869, A.1 and A.3
    local key = ("\x0b"):rep(22)
    assert.equal("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
      hex(crypto.hkdf("sha256", key, 42, {
        salt = bytes "000102030405060708090a0b0c",
        info = bytes "f0f1f2f3f4f5f6f7f8f9",
      })))
    assert.equal("8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
      hex(crypto.hkdf("sha256", key, 42)))
    assert.error_matches(function() crypto.hkdf("sha256", key, 0) end, "between 1 and 8160")
    assert.error_matches(function() crypto.hkdf("sha256", key, 32, { infos = "" }) end, "opts.infos")
  end)

  describe("passwords", function()
    it("make the keys that the standards say", function() -- RFC 7914, 11 and 12
      assert.equal("55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc",
        hex(assert(crypto.pbkdf2("sha256", "passwd", "salt", 1, 64))):sub(1, 64))
      assert.equal("fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162",
        hex(assert(crypto.scrypt("password", "NaCl", 1024, 8, 16, 64))):sub(1, 64))
    end)

    it("refuse what makes no sense", function()
      assert.error_matches(function() crypto.pbkdf2("md9", "p", "s", 1, 1) end, "no hash md9")
      assert.error_matches(function() crypto.pbkdf2("sha256", "p", "s", 0, 1) end, "iterations: expected")
      assert.error_matches(function() crypto.pbkdf2("sha256", nil, "s", 1, 1) end, "password: expected")
      assert.error_matches(function() crypto.scrypt("p", "s", 3, 1, 1, 1) end, "a power of two")
      assert.error_matches(function() crypto.scrypt("p", "s", 1 << 20, 8, 1, 1) end, "more than 1 GiB")
      assert.error_matches(function() crypto.hash_password("p", { cost = 1 }) end, "opts.cost: unknown")
      assert.error_matches(function() crypto.hash_password() end, "password: expected string")
    end)

    it("are hashed on a thread as well", function()
      assert.is_true(neap.thread(function()
        local here = require "neap.crypto"
        return here.verify_password("x", assert(here.hash_password("x", { log_cost = 2, parallel = 1 })))
      end))
    end)

    it("are known again, and no others", function()
      for _, opts in ipairs {
        { log_cost = 4, parallel = 1 },
        { algorithm = "pbkdf2-sha256", iterations = 10 },
      } do
        local stored = assert(crypto.hash_password("correct horse", opts))
        assert.matches("^%$[%w-]+%$[%w=,]+%$[%w+/]+%$[%w+/]+$", stored)
        assert.not_equal(stored, crypto.hash_password("correct horse", opts))
        assert.is_true(crypto.verify_password("correct horse", stored))
        assert.is_false(crypto.verify_password("correct hors", stored))
      end
    end)

    it("are refused when what was stored is no hash", function()
      for _, stored in ipairs { "", "secret", "$scrypt$ln=99,r=8,p=1$AAAA$AAAAAAAAAAAAAAAAAAAAAA",
        "$scrypt$ln=4,r=8$AAAA$AAAAAAAAAAAAAAAAAAAAAA", "$scrypt$ln=4,r=8,p=1$AAAA$" } do
        local right, err = crypto.verify_password("x", stored)
        assert.is_nil(right)
        assert.equal("EINVAL", err.code)
      end
    end)

    it("let the loop go on meanwhile", function()
      local turns = 0
      local turning = neap.task.spawn(function()
        while true do
          turns = turns + 1
          neap.task.yield()
        end
      end)
      assert(crypto.hash_password("x", { log_cost = 10, parallel = 1 }))
      turning:cancel()
      assert.is_true(turns > 1)
    end)
  end)
end)
