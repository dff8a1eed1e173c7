-- Who is in the channels of one declaration or several: everything that a process says of its own members, and that anyone
-- says of members whose process is gone, in one step with what is published of it.
--
-- KEYS: the lease of the process, its fence, then the hash of each channel: `<process>:<member>` = the member's entry, JSON.
-- ARGV: the process; how long its lease lasts, and a hash without anybody who looks after it, ms; what leases begin with; the
-- most members of one hash; the number of the process's connection, 0 for who only reads, and how long it is remembered, ms; then for
-- each channel, as JSON:
--   say   where the channel's changes are published
--   set   pairs of a member and its entry
--   del   members that have left
--   own   if given: all members that the process has in the hash, but for those of `set`
--   seen  if given: how many members the process's copy of the list has, the sum of their ids' first 32 bits, and where the list is
--         published if the hash has others
--   list  if given: where the whole list is published, in its place among the changes; `here`: it is returned
--   room  the channel, in front of that list
-- For each channel: members of `own` that aren't in the hash, members of `set` that had no room, the list.
local process, lease, kept, leases, most = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local connection = tonumber(ARGV[6])
if connection > 0 then
  -- A call that was given up may still be on its way, over a connection that is gone: it must not undo what was done since.
  if connection < tonumber(redis.call('GET', KEYS[2]) or '0') then
    return redis.error_reply('STALE a later connection of this process has been here')
  end
  redis.call('SET', KEYS[2], ARGV[6], 'PX', ARGV[7])
  redis.call('SET', KEYS[1], '1', 'PX', lease)
end
local alive = { [process] = true }
local function lives(id)
  if alive[id] == nil then alive[id] = redis.call('EXISTS', leases .. id) == 1 end
  return alive[id]
end
local answers = {}
for nth = 3, #KEYS do
  local hash, ask = KEYS[nth], cjson.decode(ARGV[nth + 5])
  local joined, left, missing, refused, list = {}, {}, {}, {}, {}
  local own = nil
  if ask.own then
    own = {}
    for _, member in ipairs(ask.own) do own[member] = true end
    for _, pair in ipairs(ask.set) do own[pair[1]] = nil end
  end
  if ask.seen then
    local count, sum = 0, 0
    for _, field in ipairs(redis.call('HKEYS', hash)) do
      count, sum = count + 1, sum + tonumber(string.sub(field, 38, 45), 16)
    end
    if count ~= ask.seen[1] or sum ~= ask.seen[2] then ask.list = ask.seen[3] end
  end
  local set = {}
  for _, pair in ipairs(ask.set) do set[pair[1]] = true end
  local function sweep()
    for _, field in ipairs(redis.call('HKEYS', hash)) do
      local whose, member = string.sub(field, 1, 36), string.sub(field, 38)
      local stays = lives(whose)
      if whose == process and own then
        stays = own[member] or set[member]
        own[member] = nil
      end
      if not stays then
        redis.call('HDEL', hash, field)
        table.insert(left, member)
      end
    end
  end
  if own then
    sweep()
    for member in pairs(own) do table.insert(missing, member) end
  end
  for _, member in ipairs(ask.del) do
    -- Also if the hash was lost: copies of it have the member.
    redis.call('HDEL', hash, process .. ':' .. member)
    table.insert(left, member)
  end
  local swept = own ~= nil or #ask.set == 0
  for _, pair in ipairs(ask.set) do
    local field = process .. ':' .. pair[1]
    local was = redis.call('HGET', hash, field)
    if not was and redis.call('HLEN', hash) >= most and not swept then
      -- Those who are gone take nobody's room.
      sweep()
      swept = true
    end
    if not was and redis.call('HLEN', hash) >= most then
      table.insert(refused, pair[1])
    elseif was ~= pair[2] then
      redis.call('HSET', hash, field, pair[2])
      table.insert(joined, pair[2])
    end
  end
  if ask.list == 'here' then sweep() end
  if #joined + #left > 0 then
    local gone = {}
    for _, member in ipairs(left) do table.insert(gone, '"' .. member .. '"') end
    local body = '"type":"presence","joined":[' .. table.concat(joined, ',') .. '],"left":[' .. table.concat(gone, ',') .. ']'
    redis.call('PUBLISH', ask.say, 'p' .. body)
  end
  if ask.list then
    list = redis.call('HVALS', hash)
    if ask.list ~= 'here' then
      redis.call('PUBLISH', ask.list, 'l' .. ask.room .. '[' .. table.concat(list, ',') .. ']')
      list = {}
    end
  end
  redis.call('PEXPIRE', hash, kept)
  answers[nth - 2] = { missing, refused, list }
end
return answers
