-- Moves the announced places of a model, the hash KEYS[1], to the pairs of partition and place in ARGV. They never go back: a
-- projector that has been fenced may be late with its word. Answers whether there were any before.
local known = redis.call('EXISTS', KEYS[1])
for i = 1, #ARGV, 2 do
    local there = redis.call('HGET', KEYS[1], ARGV[i])
    if not there or tonumber(there) < tonumber(ARGV[i + 1]) then
        redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
    end
end
return known
