-- ARGV: id kind request phases asked waits_for keep_ms. `asked` is JSON {priority, submitter,
-- project, passes, request_id}. The record's fields, or false where the record to wait for is
-- missing. An id that exists is a call sent twice: nothing happens.
local id, kind, request, phases, asked, waits_for, keep_ms = unpack(ARGV, 2, 8)
local needed = waits_for ~= '' and read(waits_for, 'status')
if redis.call('EXISTS', record_key(id)) == 1 then return redis.call('HGETALL', record_key(id)) end
if waits_for ~= '' and not needed then return false end

admit(id, kind, request, phases, NOW, cjson.decode(asked))
if keep_ms ~= '' then write(id, 'keep_ms', keep_ms) end
start(id, waits_for, needed)
return redis.call('HGETALL', record_key(id))
