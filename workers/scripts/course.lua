-- The course of a record: its units, its phases, its progress, its end. After events.lua.

local function move(id, to)
  local from = read(id, 'status')
  assert(may_become(from, to), id .. ' is ' .. from .. '; it cannot become ' .. to)
  write(id, 'status', to)
  tell(id, 'job.state', cjson.encode({status = to, previous = from}))
  if from == 'queued' then leave_line(id) end
end

-- The phases of a record, read once in a script: complete.lua adds to them before it looks.
local PHASES = {}

local function phases_of(id)
  if not PHASES[id] then PHASES[id] = cjson.decode(read(id, 'phases')) end
  return PHASES[id]
end

local function present_phase(id) return phases_of(id)[number(id, 'phase') + 1] end

local function tell_phase(id)
  local name, index = present_phase(id).name, number(id, 'phase')
  local told = {phase = name, phase_index = index, phase_count = #phases_of(id)}
  tell(id, 'job.phase', cjson.encode(told))
  note(id, 'info', 'phase.started', name, '', '', {})
end

local function open_unit(id, phase, index)
  local unit = string.format('%s/%s/%06d', id, phase.name, index)
  local is_told = type(phase.items) == 'number'
  local images = is_told and math.max(1, math.ceil(phase.items / phase.units)) or 1
  redis.call('HSET', unit_key(unit), 'record', id, 'index', index, 'lane', phase.lane,
    'images', images, 'attempts', 0, 'done', 0, 'total', 0, 'state', 'queued')
  redis.call('SADD', open_key(id), unit)
  enqueue(unit, id, phase.lane)
  RINGS[phase.lane] = (RINGS[phase.lane] or 0) + 1
end

local function open_phase(id, index)
  local phase = phases_of(id)[index + 1]
  write(id, 'phase', index, 'units_done', 0, 'units_reused', 0, 'items_done', 0,
    'items_reused', 0, 'busy_ms', 0, 'seen_ms', NOW)
  if index == 0 then line_up(id) else tell_phase(id) end
  for k = 0, phase.sequential and 0 or phase.units - 1 do
    open_unit(id, phase, k)
  end
end

-- Lets a claim hold for a lease from now on.
local function hold(unit)
  redis.call('ZADD', LEASES, NOW + SETTINGS.lease_ms, unit)
  redis.call('HSET', unit_key(unit), 'heard_ms', NOW)
end

-- Whether a lease has ended. So has one that was renewed later than now: the clock went back, and a
-- worker that lives renews it soon.
local function has_ended(unit)
  local heard_ms = redis.call('HGET', unit_key(unit), 'heard_ms')
  return tonumber(redis.call('ZSCORE', LEASES, unit)) <= NOW or tonumber(heard_ms or 0) > NOW
end

-- Ends the claim on a unit, if there is one: its nonce is refused from here on. Its lane.
local function let_go(unit)
  local nonce, lane = unpack(redis.call('HMGET', unit_key(unit), 'nonce', 'lane'))
  if nonce then
    redis.call('HDEL', NONCES, nonce)
    redis.call('SREM', held_key(lane), unit)
    redis.call('ZREM', LEASES, unit)
  end
  return lane
end

-- Takes the claim off a unit that is to be claimed again.
local function unclaim(unit)
  let_go(unit)
  redis.call('HDEL', unit_key(unit), 'nonce', 'worker')
  redis.call('HSET', unit_key(unit), 'done', 0)
end

-- Nobody finds a unit before it is due.
local function delay(unit, lane, due)
  redis.call('ZADD', delayed_key(lane), due, unit)
  redis.call('HSET', unit_key(unit), 'state', 'delayed')
end

local function close_unit(unit, id)
  local lane = let_go(unit)
  dequeue(unit, id, lane)
  redis.call('ZREM', delayed_key(lane), unit)
  redis.call('SREM', open_key(id), unit)
  redis.call('SREM', running_key(id), unit)
  redis.call('DEL', unit_key(unit))
  begin_anew(lane)
end

local function close_all(id, key)
  for _, unit in ipairs(redis.call('SMEMBERS', key)) do
    close_unit(unit, id)
  end
end

-- Why a record that waited for `id` fails with it.
local function error_of(id)
  return read(id, 'error') or cjson.encode({
    code = read(id, 'kind') .. '_cancelled',
    phase = cjson.null,
    message = id .. ', which this waited for, was cancelled.',
    hint = cjson.null,
    retryable = false,
  })
end

-- Takes a record off the lists; one that is on none stays so.
local function unlist(id)
  local member = string.format('%013.0f:%s', number(id, 'created_ms'), id)
  redis.call('ZREM', index_key(read(id, 'kind'), project_of(id)), member)
end

local function note_end(id, to, err)
  local told = err and cjson.decode(err) or {}
  local fields = {code = told.code, message = told.message}
  local phase = type(told.phase) == 'string' and told.phase or ''
  note(id, err and 'error' or 'info', 'job.' .. to, phase, '', '', fields)
end

local function usage_key(project) return 'ccd:usage:' .. project end
local function unfinished_key(project) return 'ccd:unfinished:' .. project end -- its jobs

-- What a dataset counts for: its images once it is ready, its uploaded bytes while it is there.
local function stored_by(id)
  local stored = cjson.decode(read(id, 'request')).stored
  local counts = read(id, 'status') == 'succeeded' and read(id, 'fact:counts')
  return counts and cjson.decode(counts).accepted or 0, stored and stored.bytes or 0
end

-- Sums up what a project has stored where that was not done yet: the first time, and after an
-- upgrade. Called before any of it changes.
local function count_usage(project)
  if redis.call('EXISTS', usage_key(project)) == 1 then return end
  local images, bytes = 0, 0
  for _, member in ipairs(redis.call('ZRANGE', index_key('dataset', project), 0, -1)) do
    local more_images, more_bytes = stored_by(member:match(':(.*)'))
    images, bytes = images + more_images, bytes + more_bytes
  end
  redis.call('HSET', usage_key(project), 'images', images, 'bytes', bytes)
end

local function add_usage(project, images, bytes)
  redis.call('HINCRBY', usage_key(project), 'images', images)
  redis.call('HINCRBY', usage_key(project), 'bytes', bytes)
end

-- Jobs of a project that wait or run; an older worker ended some without a word. Each count looks for
-- a few of those, so that it costs the same however many jobs there are.
local function count_jobs(project)
  for _, id in ipairs(redis.call('SRANDMEMBER', unfinished_key(project), 100)) do
    local status = read(id, 'status')
    if not status or is_final(status) then redis.call('SREM', unfinished_key(project), id) end
  end
  return redis.call('SCARD', unfinished_key(project))
end

-- The end of a record, and what that means to those that wait for it. A record with a time to
-- keep it is passing: it leaves the list of its kind now, and Redis when the time is over.
local function finish(id, to, err)
  close_all(id, running_key(id))
  close_all(id, open_key(id))
  local kind, project = read(id, 'kind'), project_of(id)
  if kind == 'dataset' then count_usage(project) end
  move(id, to)
  if kind == 'dataset' and to == 'succeeded' then
    local images = stored_by(id)
    add_usage(project, images, 0)
  end
  if kind == 'job' then redis.call('SREM', unfinished_key(project), id) end
  lessen(id, number(id, 'left'))
  write(id, 'finished_ms', NOW)
  count(1, 'ended', read(id, 'kind'), to)
  if err then write(id, 'error', err) end
  note_end(id, to, err)
  if to == 'succeeded' then write(id, 'percent', 100) end
  local needed = read(id, 'waits_for')
  if needed then redis.call('SREM', users_key(needed), id) end
  local kept = read(id, 'keep_ms')
  -- A success is on disk before it is told; of passing work the disk knows nothing.
  if to ~= 'succeeded' and not kept then redis.call('SADD', UNKEPT, id) end
  if kept then
    unlist(id)
    redis.call('PEXPIRE', record_key(id), kept)
    redis.call('PEXPIRE', outputs_key(id), kept)
  end
  touch(id)
  tell_end(id)
  for _, user in ipairs(redis.call('SMEMBERS', users_key(id))) do
    if to == 'succeeded' then
      open_phase(user, 0)
      touch(user)
    else
      finish(user, 'failed', error_of(id))
    end
  end
end

-- A record on its way to cancelled arrives there when its last unit has stopped.
local function settle(id)
  if read(id, 'status') == 'cancelling' and redis.call('SCARD', running_key(id)) == 0 then
    finish(id, 'cancelled')
  end
end

-- Counts the time since the last sign of life as work on the present phase. Longer than a
-- lease, nobody worked.
local function account(id)
  local passed = math.max(0, NOW - number(id, 'seen_ms'))
  add(id, 'busy_ms', math.min(passed, SETTINGS.lease_ms))
  write(id, 'seen_ms', NOW)
end

-- Items done and expected in the present phase, and its done part in units, over done and
-- running units. Where the plan tells the items, a unit that does not is an even share of them;
-- where it does not, units still unknown are taken to be as large as the known ones; where none is
-- known, 0 are expected.
local function tally(id, phase)
  local planned = type(phase.items) == 'number' and phase.items or 0
  local units_done, done = number(id, 'units_done'), number(id, 'items_done')
  local worked, sized, items = units_done, units_done, done
  for _, unit in ipairs(redis.call('SMEMBERS', running_key(id))) do
    local live = redis.call('HMGET', unit_key(unit), 'done', 'total')
    local unit_done, unit_total = tonumber(live[1]), tonumber(live[2])
    if unit_total == 0 then unit_total = planned / phase.units end
    done = done + unit_done
    if unit_total > 0 then
      worked = worked + math.min(1, unit_done / unit_total)
      sized, items = sized + 1, items + unit_total
    end
  end
  local guessed = sized > 0 and math.floor(items / sized * phase.units + 0.5) or 0
  local total = planned > 0 and planned or guessed
  return done, total > 0 and math.max(total, done) or 0, worked / phase.units
end

-- Writes done, total and percent. Percent keeps its highest value; 100 is for success alone.
local function measure(id)
  local phases, index = phases_of(id), number(id, 'phase')
  local done, total, fraction = tally(id, phases[index + 1])
  local all, before = 0, 0
  for i, phase in ipairs(phases) do
    all = all + phase.weight
    if i <= index then before = before + phase.weight end
  end
  local share = all > 0 and (before + phases[index + 1].weight * fraction) / all or 0
  local percent = math.min(99.9, math.floor(share * 10000) / 100)
  write(id, 'done', done, 'total', total, 'fraction', fraction,
    'percent', math.max(percent, number(id, 'percent')))
  if is_watched(id) then tell_progress(id) end
end

-- A record that was made at `created_ms`, in its list; nothing of it is open yet.
local function admit(id, kind, request, phases, created_ms, asked)
  local lane = cjson.decode(phases)[1].lane
  -- By age; a step of priority is worth a fixed time of it, so that whatever waits gets there.
  local score = string.format('%.0f', created_ms - asked.priority * SETTINGS.ageing_ms)
  write(id, 'id', id, 'kind', kind, 'status', 'queued', 'request', request, 'phases', phases,
    'method', SETTINGS.method, 'priority', asked.priority, 'submitter', asked.submitter,
    'project', asked.project, 'passes', asked.passes, 'lane', lane, 'score', score,
    'created_ms', created_ms)
  redis.call('SADD', PROJECTS, asked.project)
  if kind == 'dataset' then
    count_usage(asked.project)
    local images, bytes = stored_by(id)
    add_usage(asked.project, images, bytes)
  elseif kind == 'job' then
    redis.call('SADD', unfinished_key(asked.project), id)
  end
  redis.call('ZADD', index_key(kind, asked.project), 0, string.format('%013.0f:%s', created_ms, id))
  if asked.request_id ~= '' then write(id, 'request_id', asked.request_id) end
  touch(id)
end

-- Opens its first phase, or lets it wait for a record whose status is `needed`.
local function start(id, waits_for, needed)
  if waits_for ~= '' then
    write(id, 'waits_for', waits_for)
    redis.call('SADD', users_key(waits_for), id)
  end
  if not needed or needed == 'succeeded' then
    open_phase(id, 0)
  elseif is_final(needed) then
    finish(id, 'failed', error_of(waits_for))
  end
end

