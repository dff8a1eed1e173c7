-- Begins an attempt to sign in. KEYS: whether the address is known, the failures from elsewhere, those of a known address. ARGV:
-- failures without a delay, the first and the longest delay (microseconds), for how long failures are kept (milliseconds).
-- Answers the microseconds to wait, or 0 and counts the attempt as a failure.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local key = redis.call('EXISTS', KEYS[1]) == 1 and KEYS[3] or KEYS[2]
local waits_until = tonumber(redis.call('HGET', key, 'waits_until') or '') or 0
local longest = tonumber(ARGV[3])
if waits_until > now then
    -- No longer than the longest delay, also when the clock was set back.
    return math.min(waits_until - now, longest)
end
local failures = redis.call('HINCRBY', key, 'failures', 1)
if failures >= tonumber(ARGV[1]) then
    local delay = math.min(ARGV[2] * 2 ^ (failures - ARGV[1]), longest)
    redis.call('HSET', key, 'waits_until', string.format('%.0f', now + delay))
end
redis.call('PEXPIRE', key, ARGV[4])
return 0
