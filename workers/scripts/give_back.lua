-- ARGV: unit nonce after_ms. The record's status afterwards; false: stale. No attempt is counted.
-- The unit can be claimed again after so long.
local unit, nonce, after_ms = unpack(ARGV, 2, 4)
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
  local lane = redis.call('HGET', unit_key(unit), 'lane')
  if tonumber(after_ms) > 0 then
    delay(unit, lane, math.min(NOW + after_ms, LAST_DUE))
  else
    requeue(unit, id, lane)
  end
end
measure(id)
touch(id)
settle(id)
return read(id, 'status')
