-- ARGV: unit nonce done total note signs. 'fenced', 'cancel' or 'ok'.
local unit, nonce, done, total, note, signs = unpack(ARGV, 2, 7)
local id = owner(unit, nonce)
if not id then return 'fenced' end
hold(unit)
redis.call('HSET', unit_key(unit), 'done', done, 'total', total)
if signs ~= '' then redis.call('HSET', unit_key(unit), 'signs', signs) end
if note ~= '' then write(id, 'note', note) end
account(id)
measure(id)
touch(id)
return read(id, 'status') == 'cancelling' and 'cancel' or 'ok'
