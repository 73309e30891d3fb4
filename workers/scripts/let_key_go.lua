-- ARGV: name holder forget. The request has no answer: whoever sends it again takes its key over,
-- and if `forget` is '1' it is as if it had never come. Nothing if another holds it by now.
local name, holder, forget = unpack(ARGV, 2, 4)
local key = once_key(name)
if redis.call('HGET', key, 'holder') ~= holder then return end
if forget == '1' then
  redis.call('DEL', key)
else
  redis.call('HSET', key, 'until_ms', 0)
end
