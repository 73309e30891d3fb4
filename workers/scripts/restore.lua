-- ARGV: id kind request phases asked waits_for created_ms ending mark. Puts a record back as the disk
-- has it; never touches one that is there. `asked` is as in create.lua; `ending` is '' for one
-- that has not ended, else JSON {fields: {name, value, ...}, outputs: {unit, folder, ...}}; `mark`
-- is that of the request that made it, JSON {name, digest, stem}, or ''.
-- 'exists', 'unmet' (what it waits for is missing), or its status.
local id, kind, request, phases, asked, waits_for, created_ms, ending, mark = unpack(ARGV, 2, 10)
local needed = waits_for ~= '' and read(waits_for, 'status')
if redis.call('EXISTS', record_key(id)) == 1 then return 'exists' end
if ending == '' and waits_for ~= '' and not needed then return 'unmet' end

-- The request may be sent again: it is to find this record, and no answer that was kept.
local function restore_mark()
  local left_ms = created_ms + SETTINGS.once_keep_ms - NOW
  local found = cjson.decode(mark)
  local key = once_key(found.name)
  if left_ms <= 0 or redis.call('EXISTS', key) == 1 then return end
  redis.call('HSET', key, 'digest', found.digest, 'stem', found.stem, 'holder', '', 'until_ms', 0)
  redis.call('PEXPIRE', key, string.format('%.0f', left_ms))
end

if mark ~= '' then restore_mark() end
admit(id, kind, request, phases, tonumber(created_ms), cjson.decode(asked))
-- Whoever saw an earlier version of the record has to look again, and whoever follows its log
-- has numbers that are to come no second time.
write(id, 'version', NOW, 'seq', NOW, 'lines', NOW)
forget_told(id)
redis.call('PUBLISH', TOLD, id)
if ending == '' then
  start(id, waits_for, needed)
  return read(id, 'status')
end
local ended = cjson.decode(ending)
if waits_for ~= '' then write(id, 'waits_for', waits_for) end
for i = 1, #ended.fields, 2 do
  write(id, ended.fields[i], ended.fields[i + 1])
end
local project = project_of(id)
if kind == 'dataset' then
  local images = stored_by(id)
  add_usage(project, images, 0)
elseif kind == 'job' then
  redis.call('SREM', unfinished_key(project), id)
end
for i = 1, #ended.outputs, 2 do
  redis.call('HSET', outputs_key(id), ended.outputs[i], ended.outputs[i + 1])
end
return read(id, 'status')
