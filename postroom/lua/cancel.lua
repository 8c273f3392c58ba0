-- Cancel a mail, or every mail of a chunk that can still be cancelled. Returns {what, cancelled, too late}: "done",
-- "unknown" (also of a batch that is not sealed: nothing of it will be sent as it is). Too late is a mail that is on its
-- way, finished, or was ever in doubt: nobody can say that it is not sent.

local chunk_id, only = locate(args.id)
local chunk = open(chunk_id)
if not chunk or (only and only >= #chunk.rows) then return { 'unknown', 0, 0 } end
if chunk.batch and chunk.unfinished > 0 and redis.call('HEXISTS', BATCH .. chunk.batch, 'sealed') == 0 then
  return { 'unknown', 0, 0 }
end

local cancelled, too_late = 0, 0
for row = only or 0, only or #chunk.rows - 1 do
  if state_of(chunk, row) == CANCELLED then
    cancelled = cancelled + 1
  elseif is_queued(state_of(chunk, row)) and note_of(chunk, row).doubts == 0 then
    fail(chunk, row, CANCELLED, 'cancelled')
    redis.call('ZREM', DUE, mail_id(chunk, row))
    cancelled = cancelled + 1
  else
    too_late = too_late + 1
  end
end
close_all()
return { 'done', cancelled, too_late }
