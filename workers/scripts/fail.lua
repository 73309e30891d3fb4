-- ARGV: unit nonce error. The record's status afterwards; false: stale.
local unit, nonce, err = unpack(ARGV, 2, 4)
local id = owner(unit, nonce)
if not id then return false end
note_unit(id, unit, 'error', 'unit.failed', {code = cjson.decode(err).code})
close_unit(unit, id)
count_attempt(unit, 'failed')
if may_become(read(id, 'status'), 'failed') then finish(id, 'failed', err) end
settle(id)
return read(id, 'status')
