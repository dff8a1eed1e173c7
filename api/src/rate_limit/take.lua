-- Takes a token from each of the buckets KEYS, or from none of them if one is empty. ARGV has two numbers per bucket, the
-- microseconds between two new tokens and the size of the bucket. Answers what each bucket lacked before, in microseconds.
-- A key holds the time at which its bucket will be full again, and is gone then. See gcra.rs.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local debts, granted = {}, true
for i, key in ipairs(KEYS) do
    local interval, capacity = tonumber(ARGV[2 * i - 1]), ARGV[2 * i - 1] * ARGV[2 * i]
    local full_at = tonumber(redis.call('GET', key) or '') or now
    debts[i] = math.min(math.max(full_at - now, 0), capacity)
    granted = granted and debts[i] + interval <= capacity
end
if granted then
    for i, key in ipairs(KEYS) do
        local debt = debts[i] + ARGV[2 * i - 1]
        -- %.0f: all digits, however a server writes numbers.
        redis.call('SET', key, string.format('%.0f', now + debt), 'PX', math.ceil(debt / 1000))
    end
end
return debts
