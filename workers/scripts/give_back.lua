-- ARGV: unit nonce. The record's status afterwards; false: stale. No attempt is counted.
local unit, nonce = unpack(ARGV, 2, 3)
local id = owner(unit, nonce)
if not id then return false end
if read(id, 'status') == 'cancelling' then
  note_unit(id, unit, 'info', 'unit.stopped', {})
  close_unit(unit, id)
  count_attempt(unit, 'stopped')
else
  count_attempt(unit, 'given_back')
  note_unit(id, unit, 'info', 'unit.given_back', {})
  unclaim(unit)
  redis.call('SMOVE', running_key(id), open_key(id), unit)
  requeue(unit, id, redis.call('HGET', unit_key(unit), 'lane'))
end
measure(id)
touch(id)
settle(id)
return read(id, 'status')
