-- ARGV: unit nonce error give_up. Takes a unit from a worker whose lease ended: counts the attempt,
-- then waits or, at the last one and if `give_up` is '1', fails the record. Its status afterwards;
-- false: nothing to do.
local unit, nonce, err, give_up = unpack(ARGV, 2, 5)
local id = owner(unit, nonce)
if not id or not has_ended(unit) then return false end
note_unit(id, unit, 'warning', 'unit.lost', {})
local attempts = redis.call('HINCRBY', unit_key(unit), 'attempts', 1)
local status = read(id, 'status')
count_attempt(unit, 'lost')
if status == 'cancelling' then
  close_unit(unit, id)
elseif attempts >= SETTINGS.max_attempts and give_up == '1' then
  finish(id, 'failed', err)
  return 'failed'
else
  local waits = SETTINGS.backoff_ms
  local due = NOW + waits[math.min(attempts, #waits)]
  local lane = redis.call('HGET', unit_key(unit), 'lane')
  unclaim(unit)
  redis.call('SMOVE', running_key(id), open_key(id), unit)
  delay(unit, lane, due)
end
measure(id)
touch(id)
settle(id)
return read(id, 'status')
