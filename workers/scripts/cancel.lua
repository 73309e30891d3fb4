-- ARGV: id. {status before, status after}; false where there is no such record.
local id = ARGV[2]
local before = read(id, 'status')
if not before then return false end
go_on_when_full()
if may_become(before, 'cancelling') then
  move(id, 'cancelling')
  note(id, 'info', 'job.cancelling', '', '', '', {})
  close_all(id, open_key(id))
  touch(id)
  settle(id)
elseif before == 'queued' then
  finish(id, 'cancelled')
end
return {before, read(id, 'status')}
