-- ARGV: unit nonce output done reused plan [fact value]... JSON of the rings wanted; false: stale.
local unit, nonce, output, done, reused, plan = unpack(ARGV, 2, 7)
local id = owner(unit, nonce)
if not id then return false end
local index = tonumber(redis.call('HGET', unit_key(unit), 'index'))
local device = redis.call('HGET', unit_key(unit), 'device')

-- What the first result was computed on, all are.
if device and device ~= '' and not read(id, 'device') then write(id, 'device', device) end

-- JSON lists joined as text: what Python wrote stays as it is, to the last digit.
if plan ~= '[]' then write(id, 'phases', read(id, 'phases'):sub(1, -2) .. ',' .. plan:sub(2)) end
for i = 8, #ARGV, 2 do
  write(id, 'fact:' .. ARGV[i], ARGV[i + 1])
end
redis.call('HSET', outputs_key(id), unit:sub(#id + 2), output)
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

local function advance()
  local phases, current = phases_of(id), number(id, 'phase')
  local phase = phases[current + 1]
  local is_phase_done = number(id, 'units_done') == phase.units
  if is_phase_done then count_phase(phase.name, number(id, 'busy_ms')) end
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
