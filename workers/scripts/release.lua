-- ARGV: worker, '' for all. Ends the leases of a worker that is known to be gone; how many.
local worker = ARGV[2]
local ended = 0
for _, unit in ipairs(redis.call('ZRANGE', LEASES, 0, -1)) do
  if worker == '' or redis.call('HGET', unit_key(unit), 'worker') == worker then
    redis.call('ZADD', LEASES, 0, unit)
    ended = ended + 1
  end
end
return ended
