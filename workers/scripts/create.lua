-- ARGV: id kind request phases priority waits_for keep_ms request_id. The record's fields, or
-- false where the record to wait for is missing. An id that exists is a call sent twice: nothing
-- happens.
local id, kind, request, phases, priority, waits_for, keep_ms, request_id = unpack(ARGV, 2, 9)
local needed = waits_for ~= '' and read(waits_for, 'status')
if redis.call('EXISTS', record_key(id)) == 1 then return redis.call('HGETALL', record_key(id)) end
if waits_for ~= '' and not needed then return false end

local lane = cjson.decode(phases)[1].lane
-- Priority first, then age: 1e13 ms are 317 years.
local score = string.format('%.0f', NOW - tonumber(priority) * 1e13)
write(id, 'id', id, 'kind', kind, 'status', 'queued', 'request', request, 'phases', phases,
  'priority', priority, 'lane', lane, 'score', score, 'created_ms', NOW)
redis.call('ZADD', index_key(kind), 0, string.format('%013.0f:%s', NOW, id))
redis.call('ZADD', pending_key(lane), score, id)
if keep_ms ~= '' then write(id, 'keep_ms', keep_ms) end
if request_id ~= '' then write(id, 'request_id', request_id) end
touch(id)
if waits_for ~= '' then
  write(id, 'waits_for', waits_for)
  redis.call('SADD', users_key(waits_for), id)
end
if not needed or needed == 'succeeded' then
  open_phase(id, 0)
elseif is_final(needed) then
  finish(id, 'failed', error_of(waits_for))
end
return redis.call('HGETALL', record_key(id))
