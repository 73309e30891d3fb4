-- ARGV: name stem answer. What a request is answered from now on; the first answer stays.
local name, stem, answer = unpack(ARGV, 2, 4)
local key = once_key(name)
if redis.call('HGET', key, 'stem') ~= stem then return end
redis.call('HSETNX', key, 'answer', answer)
redis.call('HDEL', key, 'holder', 'until_ms')
redis.call('PEXPIRE', key, SETTINGS.once_keep_ms)
