-- wrk: sends requests in groups of `depth` (the first argument) without waiting for the answers.
function init(args)
  local depth = tonumber(args[1]) or 16
  local one = wrk.format("GET")
  local all = {}
  for i = 1, depth do all[i] = one end
  pipelined = table.concat(all)
end

function request()
  return pipelined
end
