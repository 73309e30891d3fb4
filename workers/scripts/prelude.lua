-- What every script of this folder shares: keys and small words. It is put in front of each when
-- it is loaded; shares.lua, events.lua and course.lua follow.
-- ARGV[1] is JSON: moves {to: {from: true}}, lease_ms, max_attempts, backoff_ms, ageing_ms, shares
-- {submitter: weight}, method, phase_seconds, once_lease_ms, once_keep_ms.
-- Key names are built here, so one node only: a cluster would want them declared.

local SETTINGS = cjson.decode(ARGV[1])
local CLOCK = redis.call('TIME')
local NOW = CLOCK[1] * 1000 + math.floor(CLOCK[2] / 1000)
-- Beyond this no unit is delayed, unless the clock went back.
local LAST_DUE = NOW + math.max(unpack(SETTINGS.backoff_ms))
local LEASES = 'ccd:leases' -- unit -> end of its lease
local NONCES = 'ccd:nonces' -- nonce in force -> unit
local STATS = 'ccd:stats' -- name|label|label -> a sum that only grows, see workers/stats.py
local UNKEPT = 'ccd:unkept' -- records whose end is still to be written to disk
local PROJECTS = 'ccd:projects' -- those that ever had a record
local GOING = 'ccd:going' -- output that is removed -> claims until then may have seen it
local RINGS = {} -- lane -> doorbells wanted, filled where units open

local function record_key(id) return 'ccd:record:' .. id end
local function unit_key(unit) return 'ccd:unit:' .. unit end
local function outputs_key(id) return 'ccd:outputs:' .. id end
local function open_key(id) return 'ccd:open:' .. id end -- its units in the queue or delayed
local function running_key(id) return 'ccd:running:' .. id end -- its claimed units
local function users_key(id) return 'ccd:users:' .. id end -- unfinished records that need it
-- Those that the lists of a project show. The one that everything belongs to that was made before
-- there were projects keeps the name that the list had then.
local function index_key(kind, project)
  return 'ccd:records:' .. kind .. (project == 'default' and '' or ':' .. project)
end
local function waiting_key(lane) return 'ccd:waiting:' .. lane end -- queued unit -> since when
local function delayed_key(lane) return 'ccd:delayed:' .. lane end
local function held_key(lane) return 'ccd:held:' .. lane end -- units in hand
local function once_key(name) return 'ccd:once:' .. name end -- the key of a request

local function read(id, field) return redis.call('HGET', record_key(id), field) end
local function project_of(id) return read(id, 'project') or 'default' end
local function number(id, field) return tonumber(read(id, field) or 0) end
local function write(id, ...) redis.call('HSET', record_key(id), ...) end
local function add(id, field, amount) redis.call('HINCRBY', record_key(id), field, amount) end

-- Every change that a reader can see ends here.
local function touch(id)
  add(id, 'version', 1)
  write(id, 'updated_ms', NOW)
end

-- A full Redis refuses a script whose first write may need room. For those that make room.
local function go_on_when_full() redis.call('DEL', 'ccd:room') end

local function phase_of(unit) return unit:match('/([^/]+)/') end

-- Adds to a sum that is about no record. Labels have few values: no ids.
local function count(amount, ...)
  redis.call('HINCRBY', STATS, table.concat({...}, '|'), amount)
end

-- How an attempt at a unit ended.
local function count_attempt(unit, outcome) count(1, 'attempts', phase_of(unit), outcome) end

-- A phase is over: its time in work, in the first bucket that it fits into.
local function count_phase(name, busy_ms)
  local bucket = '+Inf'
  for _, seconds in ipairs(SETTINGS.phase_seconds) do
    if busy_ms <= seconds * 1000 then
      bucket = string.format('%.0f', seconds)
      break
    end
  end
  count(1, 'phase', name, bucket)
  count(busy_ms, 'phase_ms', name)
end

local function may_become(status, to) return (SETTINGS.moves[to] or {})[status] == true end

local function is_final(status)
  for _, from in pairs(SETTINGS.moves) do
    if from[status] then return false end
  end
  return true
end

-- The record of a unit if the nonce is the one in force, else nil.
local function owner(unit, nonce)
  local held = redis.call('HMGET', unit_key(unit), 'nonce', 'record')
  if held[1] == nonce then return held[2] end
  return nil
end
