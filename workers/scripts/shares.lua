-- Whose turn it is in a lane: start-time fair queueing over those who submitted the work.
-- A submitter with queued units has a tag, the virtual time at which its next unit starts. A claim
-- takes the least tag whose units it can run and moves it on by the unit's images over the
-- submitter's weight. The greatest tag taken is the virtual time: whoever comes starts there, with
-- neither a debt nor a credit for having been away. Who has nothing queued is remembered while its
-- tag is ahead.

local MOST_RESTED = 1000 -- submitters remembered so; beyond it those least ahead are forgotten

local function virtual_key(lane) return 'ccd:virtual:' .. lane end
local function turns_key(lane) return 'ccd:turns:' .. lane end -- with queued units -> tag
local function rested_key(lane) return 'ccd:rested:' .. lane end -- without -> tag
local function queue_key(lane, submitter) return 'ccd:queue:' .. lane .. ':' .. submitter end
local function returned_key(lane) return 'ccd:returned:' .. lane end -- queued, had their turn
local function pending_key(lane, submitter) -- records that could be started
  return 'ccd:pending:' .. lane .. ':' .. submitter
end
local function asked_key(lane) return 'ccd:asked:' .. lane end -- submitter -> images of those
local function left_key(lane) return 'ccd:left:' .. lane end -- submitter -> images not yet charged

-- What never changes of a record is read once in a script: a phase may open thousands of units.
local RANKS = {}

local function rank_of(id)
  if not RANKS[id] then
    local fields = redis.call('HMGET', record_key(id), 'score', 'submitter')
    RANKS[id] = {score = fields[1], submitter = fields[2] or 'default'}
  end
  return RANKS[id]
end

local function submitter_of(id) return rank_of(id).submitter end
local function weight_of(submitter) return SETTINGS.shares[submitter] or 1 end
local function exact(number) return string.format('%.17g', number) end

local function virtual_time(lane) return tonumber(redis.call('GET', virtual_key(lane)) or 0) end

local function tag_of(lane, submitter)
  local tag = redis.call('ZSCORE', turns_key(lane), submitter)
    or redis.call('ZSCORE', rested_key(lane), submitter)
  return math.max(tonumber(tag or 0), virtual_time(lane))
end

-- The tag of a submitter without queued units: worth a place only where it is ahead.
local function rest(lane, submitter, tag)
  if tag > virtual_time(lane) then
    redis.call('ZADD', rested_key(lane), exact(tag), submitter)
    redis.call('ZREMRANGEBYRANK', rested_key(lane), 0, -MOST_RESTED - 1)
  else
    redis.call('ZREM', rested_key(lane), submitter)
  end
end

-- Moves a tag by so many images, less than 0 to give some back; never behind the virtual time.
local function charge(lane, submitter, images)
  local moved = tag_of(lane, submitter) + images / weight_of(submitter)
  local tag = math.max(virtual_time(lane), moved)
  if redis.call('ZSCORE', turns_key(lane), submitter) then
    redis.call('ZADD', turns_key(lane), exact(tag), submitter)
  else
    rest(lane, submitter, tag)
  end
end

-- Time goes on to the turn that is taken now. It is the least, but for those whose units this
-- worker cannot run: they keep their place, and whoever is served is charged from now on.
local function pass_time(unit, id, lane)
  local submitter = submitter_of(id)
  if not redis.call('ZSCORE', queue_key(lane, submitter), unit) then return end
  local tag = redis.call('ZSCORE', turns_key(lane), submitter)
  if tonumber(tag) > virtual_time(lane) then
    redis.call('SET', virtual_key(lane), tag)
    redis.call('ZREMRANGEBYSCORE', rested_key(lane), '-inf', tag)
  end
end

-- Where nothing is queued, delayed or in hand nobody is owed anything.
local function begin_anew(lane)
  if redis.call('EXISTS', waiting_key(lane), delayed_key(lane), held_key(lane)) == 0 then
    redis.call('DEL', virtual_key(lane), rested_key(lane))
  end
end

-- A new unit waits for its submitter's turn.
local function enqueue(unit, id, lane)
  local rank = rank_of(id)
  local key = queue_key(lane, rank.submitter)
  redis.call('ZADD', key, rank.score, unit)
  redis.call('ZADD', waiting_key(lane), NOW, unit)
  if redis.call('ZCARD', key) == 1 then
    redis.call('ZADD', turns_key(lane), exact(tag_of(lane, rank.submitter)), rank.submitter)
    redis.call('ZREM', rested_key(lane), rank.submitter)
  end
end

-- One that comes back had its turn.
local function requeue(unit, id, lane)
  redis.call('ZADD', returned_key(lane), rank_of(id).score, unit)
  redis.call('ZADD', waiting_key(lane), NOW, unit)
  redis.call('HSET', unit_key(unit), 'state', 'queued')
end

local function dequeue(unit, id, lane)
  redis.call('ZREM', waiting_key(lane), unit)
  redis.call('ZREM', returned_key(lane), unit)
  local submitter = submitter_of(id)
  redis.call('ZREM', queue_key(lane, submitter), unit)
  if redis.call('EXISTS', queue_key(lane, submitter)) == 1 then return end
  local tag = redis.call('ZSCORE', turns_key(lane), submitter)
  if tag then
    redis.call('ZREM', turns_key(lane), submitter)
    rest(lane, submitter, tonumber(tag))
  end
end

-- Adds to a sum of a submitter's; a sum of 0 takes no room.
local function tell(key, submitter, images)
  if images ~= 0 and redis.call('HINCRBY', key, submitter, exact(images)) <= 0 then
    redis.call('HDEL', key, submitter)
  end
end

-- A record can be started from now on. What lies ahead of it are `passes` over the items of the
-- record it waited for.
local function line_up(id)
  local lane, submitter = read(id, 'lane'), submitter_of(id)
  local needed = read(id, 'waits_for')
  local images = number(id, 'passes') * (needed and number(needed, 'done') or 0)
  write(id, 'left', images)
  redis.call('ZADD', pending_key(lane, submitter), rank_of(id).score, id)
  tell(asked_key(lane), submitter, images)
  tell(left_key(lane), submitter, images)
end

-- A record was started, or has ended before; nothing where it was not in line.
local function leave_line(id)
  local lane, submitter = read(id, 'lane'), submitter_of(id)
  if redis.call('ZREM', pending_key(lane, submitter), id) == 1 then
    tell(asked_key(lane), submitter, -number(id, 'left'))
  end
end

-- So much of a record lies no longer ahead.
local function lessen(id, images)
  local gone = math.min(images, number(id, 'left'))
  if gone == 0 then return end
  add(id, 'left', -gone)
  tell(left_key(read(id, 'lane')), submitter_of(id), -gone)
end

-- The first claim of a unit is paid for; however often it comes back, it is not paid again. One
-- that an older version opened tells no images, and one that it claimed has paid nothing: 1 each.
local function pay(unit, id, lane)
  local held = redis.call('HMGET', unit_key(unit), 'paid', 'images')
  if held[1] then return end
  local images = tonumber(held[2] or 1)
  redis.call('HSET', unit_key(unit), 'paid', images)
  charge(lane, submitter_of(id), images)
  if lane == read(id, 'lane') then lessen(id, images) end
end

-- What a unit cost shows when it is done: 1 if its output lay there already; what it was done with
-- if its phase could not tell before, at the weight that the phase gives an image.
local function settle_payment(unit, id, phase, done, reused)
  local held = redis.call('HMGET', unit_key(unit), 'paid', 'lane')
  local paid = tonumber(held[1] or 1)
  local images = paid
  if reused then
    images = 1
  elseif type(phase.items) ~= 'number' then
    images = math.max(1, math.floor(done * math.min(1, phase.weight)))
  end
  if images ~= paid then charge(held[2], submitter_of(id), images - paid) end
end

