-- ARGV: lane worker nonce device. {unit, attempt, the record's fields}, or false where none waits.
-- A device of '' runs everything.
local lane, worker, nonce, device = unpack(ARGV, 2, 5)
-- Records that a worker looks past because it cannot run them: in one queue, and in all.
local MOST_PASSED, MOST_PASSED_IN_ALL = 100, 1000
local MOST_ADOPTED = 1000

local function wake(from, to)
  local due = redis.call('ZRANGEBYSCORE', delayed_key(lane), from, to, 'LIMIT', 0, 100)
  for _, unit in ipairs(due) do
    redis.call('ZREM', delayed_key(lane), unit)
    requeue(unit, redis.call('HGET', unit_key(unit), 'record'), lane)
  end
end

local function wake_delayed()
  wake('-inf', NOW)
  wake('(' .. LAST_DUE, '+inf')
end

-- What a version that knew no submitters left behind: those of its units and records that still
-- wait are everybody's. Some at a time, since nobody else gets a word in meanwhile.
local function adopt()
  local records = redis.call('ZPOPMIN', 'ccd:pending:' .. lane, MOST_ADOPTED)
  for i = 1, #records, 2 do
    local id = records[i]
    if read(id, 'status') == 'queued' and read(id, 'phase') then line_up(id) end
  end
  local units = redis.call('ZPOPMIN', 'ccd:queue:' .. lane, MOST_ADOPTED)
  for i = 1, #units, 2 do
    local id = redis.call('HGET', unit_key(units[i]), 'record')
    if id then enqueue(units[i], id, lane) end
  end
end

-- A worker runs the versions of the method that it knows, and what was begun on its kind of device.
local function can_run(id)
  local begun_on = read(id, 'device')
  return number(id, 'method') <= SETTINGS.method
    and (device == '' or not begun_on or begun_on == device)
end

-- Units of a record lie side by side in the queue of its submitter: so many of them at least.
local function side_by_side(id, key)
  if key == returned_key(lane) then return 1 end
  local elsewhere = redis.call('ZCARD', delayed_key(lane)) + redis.call('ZCARD', returned_key(lane))
  return math.max(1, redis.call('SCARD', open_key(id)) - elsewhere)
end

-- The first unit of a queue that this worker can run, and how many records were passed over.
local function first_of(key)
  local place = 0
  for passed = 0, MOST_PASSED - 1 do
    local unit = redis.call('ZRANGE', key, place, place)[1]
    if not unit then return nil, passed end
    local id = redis.call('HGET', unit_key(unit), 'record')
    if can_run(id) then return unit, passed end
    place = place + side_by_side(id, key)
  end
  return nil, MOST_PASSED
end

-- Units that had their turn come first, then those of the submitter whose turn it is.
local function best()
  local unit, passed = first_of(returned_key(lane))
  local place = 0
  while not unit and passed < MOST_PASSED_IN_ALL do
    local submitter = redis.call('ZRANGE', turns_key(lane), place, place)[1]
    if not submitter then return nil end
    local found, more = first_of(queue_key(lane, submitter))
    unit, passed, place = found, passed + more, place + 1
  end
  return unit
end

local function take(unit)
  local id = redis.call('HGET', unit_key(unit), 'record')
  if redis.call('SCARD', running_key(id)) == 0 then write(id, 'seen_ms', NOW) end
  pass_time(unit, id, lane)
  dequeue(unit, id, lane)
  redis.call('SADD', held_key(lane), unit)
  redis.call('SMOVE', open_key(id), running_key(id), unit)
  redis.call('HSET', unit_key(unit), 'state', 'running', 'nonce', nonce, 'worker', worker,
    'device', device, 'claimed_ms', NOW)
  redis.call('HSET', NONCES, nonce, unit)
  if read(id, 'status') == 'queued' then
    move(id, 'running')
    write(id, 'started_ms', NOW)
    tell_phase(id)
    touch(id)
  end
  note_unit(id, unit, 'info', 'unit.started', {device = device ~= '' and device or nil})
  pay(unit, id, lane)
end

-- A call sent twice, because its answer was lost, finds the unit it was given.
local unit = redis.call('HGET', NONCES, nonce)
if not unit then
  wake_delayed()
  adopt()
  unit = best()
  if not unit then return false end
  take(unit)
end
hold(unit)
local held = redis.call('HMGET', unit_key(unit), 'record', 'attempts')
return {unit, held[2] + 1, redis.call('HGETALL', record_key(held[1]))}
