-- ARGV: name digest stem holder. Takes the key of a request: {'taken', stem} for
-- the first, {'again', stem} where the one before left it without an answer, {'done', stem, answer},
-- {'busy', stem} while that one is at work, {'other', stem} for another request.
local name, digest, stem, holder = unpack(ARGV, 2, 5)
local key = once_key(name)
local held = redis.call('HMGET', key, 'digest', 'stem', 'answer', 'holder', 'until_ms')
if not held[1] then
  redis.call('HSET', key, 'digest', digest, 'stem', stem, 'holder', holder,
    'until_ms', NOW + SETTINGS.once_lease_ms)
  redis.call('PEXPIRE', key, SETTINGS.once_keep_ms)
  return {'taken', stem}
end
if held[1] ~= digest then return {'other', held[2]} end
if held[3] then return {'done', held[2], held[3]} end
-- A call sent twice, because its answer was lost, finds what it took.
if held[4] == holder then return {'taken', held[2]} end
-- Later than a lease from now is no lease of ours: the clock went back.
local left_ms = tonumber(held[5]) - NOW
if 0 < left_ms and left_ms <= SETTINGS.once_lease_ms then return {'busy', held[2]} end
redis.call('HSET', key, 'holder', holder, 'until_ms', NOW + SETTINGS.once_lease_ms)
return {'again', held[2]}
