-- ARGV: lane id... {now, rows, places}. A row for each submitter whose work lies ahead in the
-- lane: name, tag, weight, records that could be started, their images, images of all its records
-- that are not yet charged. A place for each id: its submitter and its rank, '' and -1 where it is
-- not in line. Reads no record but those asked for.
local lane = ARGV[2]
local rows, seen = {}, {}

local function add_row(submitter)
  if seen[submitter] then return end
  seen[submitter] = true
  table.insert(rows, {
    submitter,
    exact(tag_of(lane, submitter)),
    exact(weight_of(submitter)),
    redis.call('ZCARD', pending_key(lane, submitter)),
    redis.call('HGET', asked_key(lane), submitter) or '0',
    redis.call('HGET', left_key(lane), submitter) or '0',
  })
end

for _, submitter in ipairs(redis.call('ZRANGE', turns_key(lane), 0, -1)) do add_row(submitter) end
for _, submitter in ipairs(redis.call('HKEYS', left_key(lane))) do add_row(submitter) end

local places = {}
for i = 3, #ARGV do
  local submitter = submitter_of(ARGV[i])
  local rank = redis.call('ZRANK', pending_key(lane, submitter), ARGV[i])
  if rank then add_row(submitter) end
  table.insert(places, rank and {submitter, rank} or {'', -1})
end
return {NOW, rows, places}
