-- Asks with another token each time: ARGS are the header's name, what its values begin with, the first number that
-- they end with, and how many numbers there are. The report is report.lua's.
local head, tail, first, count

init = function(args)
  local mark = "@NUMBER@"
  wrk.headers[args[1]] = args[2] .. mark
  first, count = tonumber(args[3]), tonumber(args[4])
  math.randomseed(os.time())
  local text = wrk.format()
  local from, to = string.find(text, mark, 1, true)
  head, tail = string.sub(text, 1, from - 1), string.sub(text, to + 1)
end

request = function()
  return head .. string.format("%d", first + math.random(0, count - 1)) .. tail
end
