-- KEYS are owners' hashes. ARGV is "1" to take or "0" to look, then for each bucket the number of its key, its field, and
--   r: burst, requests regained per microsecond;   q: max, microseconds of a window (0: for ever)
-- Returns now, then for each bucket whether it passes (1 or 0), and three numbers:
--   r: remaining, microseconds until one passes, until it is full
--   q: used, microseconds until the window ends (-1: never, or there is none), when it began
local most = 9007199254740992
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]

local function whole(n) return math.max(0, math.min(math.ceil(n), most)) end

local buckets, all = {}, true
for i = 2, #ARGV, 4 do
  local b = { key = KEYS[tonumber(ARGV[i])], field = ARGV[i + 1], most = tonumber(ARGV[i + 2]), per = tonumber(ARGV[i + 3]) }
  b.rate = string.byte(b.field) == 114
  b.used, b.at = 0, now
  local entry = redis.call('HGET', b.key, b.field)
  if entry then
    local used, at = string.match(entry, '^(%S+) (%S+)$')
    b.used, b.at = tonumber(used) or 0, math.min(tonumber(at) or now, now)
  end
  if b.rate then
    b.slack = 1e-6 + b.most * 1e-12
    b.used = math.max(0, b.used - (now - b.at) * b.per)
    b.at = now
    b.passes = b.used + 1 <= b.most + b.slack
  else
    if b.per > 0 and now - b.at >= b.per then b.used = 0 end
    if b.used == 0 then b.at = now end
    b.passes = b.used < b.most
  end
  all = all and b.passes
  buckets[#buckets + 1] = b
end

local take = all and ARGV[1] == '1'
local out = { now }
for _, b in ipairs(buckets) do
  if take then b.used = b.used + 1 end
  out[#out + 1] = b.passes and 1 or 0
  local keep = -1 -- microseconds for which the field says something
  if b.rate then
    keep = whole(b.used / b.per)
    out[#out + 1] = whole(math.floor(b.most - b.used + b.slack))
    out[#out + 1] = b.passes and 0 or math.max(1, whole((b.used + 1 - b.most) / b.per))
    out[#out + 1] = keep
  else
    if b.per > 0 then keep = whole(b.per - (now - b.at)) end
    out[#out + 1] = b.used
    out[#out + 1] = b.used > 0 and keep or -1
    out[#out + 1] = b.at
  end
  if take then
    local left, ms = redis.call('PTTL', b.key), math.ceil(keep / 1000) + 1000
    redis.call('HSET', b.key, b.field, string.format('%.17g %.0f', b.used, b.at))
    if keep < 0 then
      if left >= 0 then redis.call('PERSIST', b.key) end
    elseif left == -2 or (left >= 0 and left < ms) then
      redis.call('PEXPIRE', b.key, string.format('%.0f', ms))
    end
  end
end
return out
