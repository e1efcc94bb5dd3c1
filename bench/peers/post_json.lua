-- wrk: posts an order of 1 KiB.
local lines = {}
for i = 1, 14 do
  lines[i] = ('{"sku":"goods-%04d","name":"a thing with a name","quantity":%d}'):format(i * 37, i)
end
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"id":4711,"customer":{"name":"Ada Lovelace","city":"London"},"lines":['
  .. table.concat(lines, ",") .. "]}"
