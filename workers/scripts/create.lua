-- ARGV: id kind request phases asked waits_for keep_ms. `asked` is JSON {priority, submitter,
-- project, passes, request_id, quotas}. The record's fields, or false where the record to wait for is
-- missing. An id that exists is a call sent twice: nothing happens.
local id, kind, request, phases, asked, waits_for, keep_ms = unpack(ARGV, 2, 8)
local needed = waits_for ~= '' and read(waits_for, 'status')
if redis.call('EXISTS', record_key(id)) == 1 then return redis.call('HGETALL', record_key(id)) end
if waits_for ~= '' and not needed then return false end

local wanted = cjson.decode(asked)
local quotas = wanted.quotas or {}
local function refuse_over(name, used, more)
  local limit = quotas[name] or 0
  if limit > 0 and used + more > limit then
    return redis.error_reply(string.format('QUOTA %s %.0f %.0f', name, limit, used))
  end
end
if kind == 'job' and (quotas.jobs or 0) > 0 then
  local refused = refuse_over('jobs', count_jobs(wanted.project), 1)
  if refused then return refused end
elseif kind == 'dataset' then
  count_usage(wanted.project)
  local stored = cjson.decode(request).stored or {images = 0, bytes = 0}
  local used = redis.call('HMGET', usage_key(wanted.project), 'images', 'bytes')
  local refused = refuse_over('images', tonumber(used[1]), math.max(1, stored.images))
    or refuse_over('bytes', tonumber(used[2]), stored.bytes)
  if refused then return refused end
end

admit(id, kind, request, phases, NOW, cjson.decode(asked))
if keep_ms ~= '' then write(id, 'keep_ms', keep_ms) end
start(id, waits_for, needed)
return redis.call('HGETALL', record_key(id))
