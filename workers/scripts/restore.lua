-- ARGV: id kind request phases asked waits_for created_ms ending. Puts a record back as the disk
-- has it; never touches one that is there. `asked` is as in create.lua; `ending` is '' for one
-- that has not ended, else JSON {fields: {name, value, ...}, outputs: {unit, folder, ...}}.
-- 'exists', 'unmet' (what it waits for is missing), or its status.
local id, kind, request, phases, asked, waits_for, created_ms, ending = unpack(ARGV, 2, 9)
local needed = waits_for ~= '' and read(waits_for, 'status')
if redis.call('EXISTS', record_key(id)) == 1 then return 'exists' end
if ending == '' and waits_for ~= '' and not needed then return 'unmet' end

admit(id, kind, request, phases, tonumber(created_ms), cjson.decode(asked))
-- Whoever saw an earlier version of the record has to look again.
write(id, 'version', NOW)
if ending == '' then
  start(id, waits_for, needed)
  return read(id, 'status')
end
local ended = cjson.decode(ending)
if waits_for ~= '' then write(id, 'waits_for', waits_for) end
for i = 1, #ended.fields, 2 do
  write(id, ended.fields[i], ended.fields[i + 1])
end
for i = 1, #ended.outputs, 2 do
  redis.call('HSET', outputs_key(id), ended.outputs[i], ended.outputs[i + 1])
end
return read(id, 'status')
