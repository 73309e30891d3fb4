-- ARGV: id. {status, ids that need it...}; deleted where the status is final and nobody does.
-- False where there is no such record.
local id = ARGV[2]
local status = read(id, 'status')
if not status then return false end
local users = redis.call('SMEMBERS', users_key(id))
if #users == 0 and is_final(status) then
  unlist(id)
  redis.call('SREM', UNKEPT, id)
  redis.call('DEL', record_key(id), outputs_key(id))
  forget_told(id)
end
table.insert(users, 1, status)
return users
