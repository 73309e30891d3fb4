-- {unit, nonce, unit, nonce, ...} of every claim whose lease has ended.
local found = {}
for _, unit in ipairs(redis.call('ZRANGEBYSCORE', LEASES, '-inf', NOW)) do
  table.insert(found, unit)
  table.insert(found, redis.call('HGET', unit_key(unit), 'nonce'))
end
return found
