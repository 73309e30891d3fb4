-- {unit, nonce, unit, nonce, ...} of every claim whose lease has ended.
local found = {}
local function look(from, to)
  for _, unit in ipairs(redis.call('ZRANGEBYSCORE', LEASES, from, to)) do
    if has_ended(unit) then
      table.insert(found, unit)
      table.insert(found, redis.call('HGET', unit_key(unit), 'nonce'))
    end
  end
end
look('-inf', NOW)
look('(' .. NOW + SETTINGS.lease_ms, '+inf') -- none, unless the clock went back
return found
