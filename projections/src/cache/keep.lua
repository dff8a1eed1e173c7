-- Keeps ARGV[1], an entry, under KEYS[1] for ARGV[2] seconds, unless what is there, an entry or a mark, has a place that the
-- entry has not reached.
local entry = cjson.decode(ARGV[1])
local there = redis.call('GET', KEYS[1])
if there then
    for partition, place in pairs(cjson.decode(there).places) do
        if (entry.places[partition] or -1) < place then return 0 end
    end
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 1
