-- What is wrong with a scenario travels as an error of one kind until it is given back as text.

local distribution = require "neap.sim.distribution"

local M = {}

---@param path string
---@param words string a format
function M.refuse(path, words, ...) error({ problem = path .. ": " .. words:format(...) }, 0) end

---@param d neap.sim.Distribution
---@param path string
---@return table
function M.read_distribution(d, path)
  local spec, problem = distribution.read(d, path)
  if not spec then error({ problem = problem }, 0) end
  return spec
end

return M
