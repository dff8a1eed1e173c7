-- Ends an attempt that wasn't refused. KEYS as in check.lua. ARGV: for how long the address is known (milliseconds), or 0 if the
-- attempt neither succeeded nor failed.
local known = redis.call('EXISTS', KEYS[1]) == 1
if ARGV[1] ~= '0' then
    redis.call('SET', KEYS[1], '1', 'PX', ARGV[1])
end
if known and ARGV[1] ~= '0' then
    redis.call('DEL', KEYS[3])
    return 0
end
-- Only this attempt is taken back: the failures from elsewhere are those of others.
local key = known and KEYS[3] or KEYS[2]
if redis.call('HINCRBY', key, 'failures', -1) <= 0 then
    redis.call('DEL', key)
else
    redis.call('HDEL', key, 'waits_until')
end
return 0
