-- ARGV: lane... {rows, leases, age, sums}. A row for each lane: units that wait, units delayed, ms
-- that the longest has waited. Then claims in force, ms since the one that was longest without a
-- renewal had one, and all sums. Reads no record and walks no queue.
local rows = {}
for i = 2, #ARGV do
  local lane = ARGV[i]
  local first = redis.call('ZRANGE', waiting_key(lane), 0, 0, 'WITHSCORES')
  table.insert(rows, {
    redis.call('ZCARD', waiting_key(lane)),
    redis.call('ZCARD', delayed_key(lane)),
    first[2] and math.max(0, NOW - first[2]) or 0,
  })
end
-- A lease that was ended by hand has no age.
local first = redis.call('ZRANGEBYSCORE', LEASES, '(0', '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
local age = first[2] and math.max(0, NOW - first[2] + SETTINGS.lease_ms) or 0
return {rows, redis.call('ZCARD', LEASES), age, redis.call('HGETALL', STATS)}
