-- ARGV: lane. Units that a claim would find now.
local lane = ARGV[2]
return redis.call('ZCARD', waiting_key(lane))
  + redis.call('ZCOUNT', delayed_key(lane), '-inf', NOW)
  + redis.call('ZCOUNT', delayed_key(lane), '(' .. LAST_DUE, '+inf')
