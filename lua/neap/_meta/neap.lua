---@meta neap

--- What went wrong, as the second value of a call that returned `nil, err`.
---@class neap.Error
---@field code string a stable upper-case name: ETIMEDOUT, ECONNREFUSED, EINVAL …
---@field message string in words
---@field value? any of ESCRIPT: what was raised
---@field traceback? string of ESCRIPT
