local coding = require "neap.coding"

local all = { "gzip", "deflate", "br", "zstd" }
local text = ("the tide is even, the tide is small; "):rep(3000)

describe("neap.coding", function()
  it("compresses and decompresses", function()
    for _, name in ipairs(all) do
      local small = coding.compress(text, name)
      assert.is_true(#small < #text / 20, name)
      assert.equal(text, coding.decompress(small, name))
      assert.equal("", coding.decompress(coding.compress("", name), name))
    end
  end)

  it("has levels", function()
    local mixed = {}
    for i = 1, 20000 do mixed[i] = ("%d %s"):format(i * 7919 % 10007, text:sub(i % 500, i % 500 + i % 13)) end
    local data = table.concat(mixed)
    for _, name in ipairs(all) do
      local low, high = coding.compress(data, name, 1), coding.compress(data, name, { level = 9 })
      assert.is_true(#high < #low, name)
      assert.equal(data, coding.decompress(high, name))
    end
  end)

  it("decompresses what was compressed several times", function()
    local twice = coding.compress(coding.compress(text, "gzip"), "br")
    assert.equal(text, coding.decompress(twice, "gzip, br"))
  end)

  it("takes no data for an empty text", function() assert.equal("", coding.decompress("", "gzip")) end)

  it("says what is wrong with the data", function()
    for _, name in ipairs(all) do
      local small = coding.compress(text, name)
      local out, err = coding.decompress(small:sub(1, -2), name)
      assert.is_nil(out)
      assert.equal("EPROTO: the compressed data is cut off", tostring(err))
      out, err = coding.decompress(small .. "x", name)
      assert.is_nil(out)
      assert.equal("EPROTO", err.code)
    end
    local _, err = coding.decompress("this is no gzip", "gzip")
    assert.equal("EPROTO: the compressed data is damaged", tostring(err))
  end)

  it("bounds what comes out", function()
    local bomb = coding.compress(("\0"):rep(4 << 20), "gzip")
    local out, err = coding.decompress(bomb, "gzip", { max = 1000 })
    assert.is_nil(out)
    assert.equal("ELIMIT", err.code)
    assert.equal("ELIMIT", select(2, coding.decompress(bomb, "gzip")).code)
    assert.equal(4 << 20, #coding.decompress(bomb, "gzip", { max_ratio = 0 }))
    assert.equal(4 << 20, #coding.decompress(bomb, "gzip", { max_ratio = 2000, max = 4 << 20 }))
  end)

  it("encodes piece by piece, and flushes", function()
    for _, name in ipairs(all) do
      local e <close> = coding.encoder(name, 1)
      local d <close> = coding.decoder(name)
      for i = 1, 20 do
        local out = e:write("event ") .. e:flush(i .. "\n")
        assert.equal(("event %d\n"):format(i), d:write(out))
      end
      assert.equal("end", d:finish(e:finish "end"))
      assert.has_error(function() e:write "x" end)
      assert.has_error(function() d:write "x" end)
      assert.is_truthy(tostring(e):find("finished", 1, true))
    end
  end)

  it("decodes in pieces of a bounded size", function()
    for _, name in ipairs(all) do
      local d = coding.decoder(name)
      local got = {}
      local small = coding.compress(text, name)
      for i = 1, #small, 10 do
        d:feed(small:sub(i, i + 9))
        assert.has_error(function() d:feed "more" end)
        for piece in function() return d:read(100) end do
          assert.is_true(#piece <= 100)
          got[#got + 1] = piece
        end
      end
      assert.equal("", d:finish())
      assert.equal(text, table.concat(got))
    end
  end)

  it("fails for good", function()
    local d = coding.decoder "gzip"
    local out, err = d:write "nonsense"
    assert.is_nil(out)
    assert.equal("EPROTO", err.code)
    assert.has_error(function() d:write "x" end)
    d:close()
    d:close()
    local cut = coding.decoder "br"
    assert.equal("EPROTO", select(2, cut:finish(coding.compress(text, "br"):sub(1, 20))).code)
  end)

  it("negotiates", function()
    local offered = { "zstd", "br", "gzip" }
    assert.equal("zstd", coding.negotiate("gzip, deflate, br, zstd", offered))
    assert.equal("gzip", coding.negotiate("gzip, br;q=0.5", offered))
    assert.equal("zstd", coding.negotiate("*", offered))
    assert.is_nil(coding.negotiate("deflate", offered))
    assert.is_nil(coding.negotiate("identity, gzip;q=0.5", offered))
    assert.is_nil(coding.negotiate(nil, offered))
    assert.is_nil(coding.negotiate("gzip", {}))
  end)

  it("refuses what makes no sense", function()
    local function refused(pattern, fn, ...)
      local ok, err = pcall(fn, ...)
      assert.is_false(ok)
      assert.is_truthy(err:find(pattern, 1, true), err)
    end
    refused('coding: expected "gzip", "deflate", "br" or "zstd"', coding.compress, "x", "lzma")
    refused('coding: expected "gzip"', coding.compress, "x", "identity")
    refused("level: must be between 1 and 9 for gzip", coding.compress, "x", "gzip", 0)
    refused("opts.level: must be between 0 and 11 for br", coding.encoder, "br", { level = 12 })
    refused("opts.level: expected integer, got string", coding.encoder, "br", { level = "9" })
    refused("opts.speed", coding.compress, "x", "gzip", { speed = 1 })
    refused("coding: expected at most 4", coding.decompress, "x", "gzip, lzma")
    refused("opts.limit", coding.decompress, "x", "gzip", { limit = 1 })
    refused("opts.max_window", coding.decoder, "zstd", { max_window = 40 })
    refused("offered[2]: gzip again", coding.negotiate, "gzip", { "gzip", "gzip" })
    refused("offered[1]", coding.negotiate, "gzip", { "identity" })
  end)

  it("works on a thread that has no loop", function()
    local neap = require "neap"
    local small = neap.thread(function(data) return require("neap.coding").compress(data, "zstd") end, text)
    assert.equal(text, coding.decompress(small, "zstd"))
  end)
end)
