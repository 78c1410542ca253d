-- KEYS are owners' hashes. ARGV is for each bucket the number of its key, its field, and
--   r: when it is full that a request was taken from, requests regained per microsecond: gives that request back
--   q: how many to add, when the window began that they belong to (0: whichever is now), microseconds of a window (0: for ever)
-- each as five, the last of r unused. Returns now, then for each bucket what is used and when its window began (q; 0 0 if
-- there is none). What belongs to a window that is over, or was reset, is dropped.
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local out = { now }
for i = 1, #ARGV, 5 do
  local key, field = KEYS[tonumber(ARGV[i])], ARGV[i + 1]
  local a, b, c = tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4])
  local used, at = 0, now
  local entry = redis.call('HGET', key, field)
  if entry then
    local u, t = string.match(entry, '^(%S+) (%S+)$')
    used, at = tonumber(u) or 0, math.min(tonumber(t) or now, now)
  end
  if string.byte(field) == 114 then
    used = math.max(0, used - (now - at) * b)
    local back = math.min(1, (a - now) * b) -- the part that time has not given back
    if entry and back > 0 then
      redis.call('HSET', key, field, string.format('%.17g %.0f', math.max(0, used - back), now))
    end
    out[#out + 1] = 0
    out[#out + 1] = 0
  else
    if not entry or (c > 0 and now - at >= c) then used, at = 0, 0 end
    local left = redis.call('PTTL', key)
    if b == 0 and a > 0 and used == 0 then at = now end
    if a ~= 0 and (at == b and used > 0 or b == 0 and a > 0) then
      used = math.max(0, used + a)
      redis.call('HSET', key, field, string.format('%.17g %.0f', used, at))
      local ms = math.ceil((c - (now - at)) / 1000) + 1000
      if c <= 0 then
        if left >= 0 then redis.call('PERSIST', key) end
      elseif left == -2 or (left >= 0 and left < ms) then
        redis.call('PEXPIRE', key, string.format('%.0f', ms))
      end
    end
    out[#out + 1] = used
    out[#out + 1] = used > 0 and at or 0
  end
end
return out
