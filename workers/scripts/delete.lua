-- ARGV: id... Forgets records that have ended and that nobody needs: all of them, or none. {} where
-- they are gone, those that were gone before among them; else {id, status, ids that need it...} of
-- the first that stays. False where there was none.
local present = {}
for i = 2, #ARGV do
  local id = ARGV[i]
  local status = read(id, 'status')
  if status then
    local users = redis.call('SMEMBERS', users_key(id))
    if #users > 0 or not is_final(status) then return {id, status, unpack(users)} end
    table.insert(present, id)
  end
end
go_on_when_full()
for _, id in ipairs(present) do
  if read(id, 'kind') == 'dataset' then
    count_usage(project_of(id))
    local images, bytes = stored_by(id)
    add_usage(project_of(id), -images, -bytes)
  end
  unlist(id)
  redis.call('SREM', UNKEPT, id)
  redis.call('DEL', record_key(id), outputs_key(id))
  forget_told(id)
end
return #present > 0 and {}
