-- ARGV: worker standing. It lives; after a lease of silence it is forgotten.
local worker, standing = unpack(ARGV, 2, 3)
local key = 'ccd:worker:' .. worker
redis.call('HSETNX', key, 'started_ms', NOW)
redis.call('HSET', key, 'standing', standing, 'heard_ms', NOW)
redis.call('PEXPIRE', key, SETTINGS.lease_ms)
redis.call('SADD', 'ccd:workers', worker)
