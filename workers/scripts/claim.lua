-- ARGV: lane worker nonce. {unit, attempt, the record's fields}, or false where none waits.
local lane, worker, nonce = unpack(ARGV, 2, 4)
local MOST_PASSED = 100 -- units of newer records that an older worker looks past

local function wake_delayed()
  local due = redis.call('ZRANGEBYSCORE', delayed_key(lane), '-inf', NOW, 'LIMIT', 0, 100)
  for _, unit in ipairs(due) do
    redis.call('ZREM', delayed_key(lane), unit)
    enqueue(unit, redis.call('HGET', unit_key(unit), 'record'), lane)
  end
end

-- The best unit of a record for a version of the method that this worker knows.
local function best()
  for place = 0, MOST_PASSED do
    local unit = redis.call('ZRANGE', queue_key(lane), place, place)[1]
    if not unit then return nil end
    local id = redis.call('HGET', unit_key(unit), 'record')
    if number(id, 'method') <= SETTINGS.method then return unit end
  end
end

local function take(unit)
  local id = redis.call('HGET', unit_key(unit), 'record')
  if redis.call('SCARD', running_key(id)) == 0 then write(id, 'seen_ms', NOW) end
  dequeue(unit, lane)
  redis.call('SMOVE', open_key(id), running_key(id), unit)
  redis.call('HSET', unit_key(unit), 'state', 'running', 'nonce', nonce, 'worker', worker)
  redis.call('HSET', NONCES, nonce, unit)
  if read(id, 'status') == 'queued' then
    move(id, 'running')
    write(id, 'started_ms', NOW)
    touch(id)
  end
end

-- A call sent twice, because its answer was lost, finds the unit it was given.
local unit = redis.call('HGET', NONCES, nonce)
if not unit then
  wake_delayed()
  unit = best()
  if not unit then return false end
  take(unit)
end
redis.call('ZADD', LEASES, NOW + SETTINGS.lease_ms, unit)
local held = redis.call('HMGET', unit_key(unit), 'record', 'attempts')
return {unit, held[2] + 1, redis.call('HGETALL', record_key(held[1]))}
