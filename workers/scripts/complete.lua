-- ARGV: unit nonce output done reused plan told [fact value]... JSON of the rings wanted; false:
-- stale; 'going': the output is being removed, the unit has to be done again. `told` is JSON {type,
-- level, event, JSON of the data, ...}: what came to light.
local unit, nonce, output, done, reused, plan, told = unpack(ARGV, 2, 8)
local id = owner(unit, nonce)
if not id then return false end
local index = tonumber(redis.call('HGET', unit_key(unit), 'index'))
local device = redis.call('HGET', unit_key(unit), 'device')
local claimed_ms = tonumber(redis.call('HGET', unit_key(unit), 'claimed_ms') or NOW)
local going_ms = redis.call('ZSCORE', GOING, output)
if going_ms and claimed_ms <= tonumber(going_ms) then return 'going' end

-- The curve has no times, because whoever makes it again makes the same: they are kept beside it.
local function stamp(id, field)
  local times = cjson.decode(read(id, field) or '[]')
  table.insert(times, NOW)
  write(id, field, cjson.encode(times))
end

-- What the first result was computed on, all are.
if device and device ~= '' and not read(id, 'device') then write(id, 'device', device) end

-- JSON lists joined as text: what Python wrote stays as it is, to the last digit.
if plan ~= '[]' then write(id, 'phases', read(id, 'phases'):sub(1, -2) .. ',' .. plan:sub(2)) end
for i = 9, #ARGV, 2 do
  write(id, 'fact:' .. ARGV[i], ARGV[i + 1])
  if ARGV[i] == 'curve' then stamp(id, 'fact:curve_at') end
end
redis.call('HSET', outputs_key(id), unit:sub(#id + 2), output)

note_unit(id, unit, 'info', 'unit.ended', {
  images = tonumber(done), reused = reused == '1', seconds = math.max(0, NOW - claimed_ms) / 1000
})
local happened = cjson.decode(told)
for i = 1, #happened, 4 do
  local what, level, event, data = unpack(happened, i, i + 3)
  tell(id, what, data)
  note_unit(id, unit, level, event, data)
end

account(id)
settle_payment(unit, id, present_phase(id), tonumber(done), reused == '1')
close_unit(unit, id)
add(id, 'units_done', 1)
add(id, 'items_done', done)
if reused == '1' then
  add(id, 'units_reused', 1)
  add(id, 'items_reused', done)
  count_attempt(unit, 'reused')
else
  count_attempt(unit, 'done')
  count(done, 'images', phase_of(unit))
end
measure(id)

-- How long each phase was in work, over how many items, of how many units that found it done.
local function note_time(phase)
  local spent = cjson.decode(read(id, 'spent') or '{}')
  spent[phase.name] = {number(id, 'busy_ms'), number(id, 'items_done'), number(id, 'units_reused')}
  write(id, 'spent', cjson.encode(spent))
end

local function advance()
  local phases, current = phases_of(id), number(id, 'phase')
  local phase = phases[current + 1]
  local is_phase_done = number(id, 'units_done') == phase.units
  if is_phase_done then
    count_phase(phase.name, number(id, 'busy_ms'))
    note_time(phase)
    note(id, 'info', 'phase.ended', phase.name, '', '', {seconds = number(id, 'busy_ms') / 1000})
  end
  if is_phase_done and current + 1 == #phases then
    finish(id, 'succeeded')
  elseif is_phase_done then
    open_phase(id, current + 1)
    measure(id)
  elseif phase.sequential then
    open_unit(id, phase, index + 1)
  end
end

if read(id, 'status') == 'running' then advance() end
settle(id)
touch(id)
return cjson.encode(RINGS)
