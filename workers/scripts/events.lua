-- What a job tells those who watch it: its events, numbered without a gap, and the lines of its
-- log. After prelude.lua, before course.lua.
-- A job that waits for its first worker has told nothing yet, and takes no room for it.

local MOST_EVENTS, MOST_LINES = 1000, 2000
local PROGRESS_MS = 1000 -- at most one event of progress in so long
local REPLAY_MS = 3600 * 1000 -- events can be had again for so long after the end
local TOLD = 'ccd:told' -- the channel on which the ids of jobs go that have told something
local UNWRITTEN = 'ccd:unwritten' -- jobs that have ended, whose log is still to be written to disk

local function events_key(id) return 'ccd:events:' .. id end
local function lines_key(id) return 'ccd:lines:' .. id end

-- Read once in a script: most scripts tell several things of one record.
local WATCHED = {}

local function is_watched(id)
  if WATCHED[id] == nil then WATCHED[id] = read(id, 'kind') == 'job' end
  return WATCHED[id]
end

-- A stream of entries whose ids count up, by a field of the record.
local function append(id, key, counter, most, ...)
  local number = redis.call('HINCRBY', record_key(id), counter, 1)
  redis.call('XADD', key, 'MAXLEN', '~', most, string.format('%.0f-0', number), 'at', NOW, ...)
end

local ANNOUNCED = {}

-- An event; `data` is JSON.
local function tell(id, what, data)
  if not is_watched(id) then return end
  append(id, events_key(id), 'seq', MOST_EVENTS, 'type', what, 'data', data)
  if not ANNOUNCED[id] then redis.call('PUBLISH', TOLD, id) end
  ANNOUNCED[id] = true
end

-- A line of the log; `phase`, `unit` and `attempt` are '' where it is about none. `fields` are a
-- table, or JSON.
local function note(id, level, event, phase, unit, attempt, fields)
  if not is_watched(id) then return end
  local told = type(fields) == 'string' and fields or cjson.encode(fields)
  append(id, lines_key(id), 'lines', MOST_LINES, 'level', level, 'event', event, 'phase', phase,
    'unit', unit, 'attempt', attempt, 'fields', told)
end

-- The same about a unit that is still open.
local function note_unit(id, unit, level, event, fields)
  local index, attempts = unpack(redis.call('HMGET', unit_key(unit), 'index', 'attempts'))
  note(id, level, event, phase_of(unit), index, attempts + 1, fields)
end

-- How far it is: what the record holds of it, as text.
local function tell_progress(id)
  local names = {'phase', 'done', 'total', 'fraction', 'percent', 'busy_ms', 'units_reused',
    'items_reused'}
  local values, known = redis.call('HMGET', record_key(id), unpack(names)), {}
  local mark = table.concat(values, '|', 1, 5)
  local passed = NOW - number(id, 'told_ms')
  if mark == read(id, 'told') or (passed >= 0 and passed < PROGRESS_MS) then return end
  for i, name in ipairs(names) do known[name] = values[i] end
  write(id, 'told', mark, 'told_ms', NOW)
  tell(id, 'job.progress', cjson.encode(known))
end

-- The last event. What was told stays for a while, for those who come back.
local function tell_end(id)
  if not is_watched(id) then return end
  tell(id, 'job.done', '{}')
  redis.call('PEXPIRE', events_key(id), REPLAY_MS)
  redis.call('SADD', UNWRITTEN, id)
end

local function forget_told(id)
  redis.call('DEL', events_key(id), lines_key(id))
  redis.call('SREM', UNWRITTEN, id)
end

