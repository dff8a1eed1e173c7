-- Moves the announced places of a model, the hash KEYS[1], to (partition, place) pairs in ARGV[2], ARGV[3], …
-- ARGV[1] is 'begin' when they replace what is there, else they never go back: a projector that has been fenced may be
-- late with its word.
for i = 2, #ARGV, 2 do
    local there = redis.call('HGET', KEYS[1], ARGV[i])
    if ARGV[1] == 'begin' or not there or tonumber(there) < tonumber(ARGV[i + 1]) then
        redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
    end
end
return #ARGV
