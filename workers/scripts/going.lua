-- ARGV: until_ms output... These folders are about to be removed, so that no unit which may have seen
-- one is completed with it: units claimed until now, and for `until_ms` from now. '' takes it back.
local until_ms = ARGV[2]
for i = 3, #ARGV do
  if until_ms == '' then
    redis.call('ZREM', GOING, ARGV[i])
  else
    redis.call('ZADD', GOING, NOW + until_ms, ARGV[i])
  end
end
redis.call('ZREMRANGEBYSCORE', GOING, '-inf', NOW - SETTINGS.once_keep_ms)
