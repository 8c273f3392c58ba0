-- Delete what a dead letter holds: its content, and SendGrid's errors, which may quote it. State and reason stay.
-- Returns {what, state}: "purged", "unknown" or "not_dead".

local chunk_id, row = locate(args.id)
row = row or 0
local chunk = open(chunk_id)
if not chunk or row >= #chunk.rows then return { 'unknown', '' } end
local state = state_of(chunk, row)
if not DEAD[state] then return { 'not_dead', NAME[state] } end

local note = change_note(chunk, row)
note.purged, note.errors = true, nil
if note.was then note.was.errors = nil end
close_all()
if chunk.unfinished == 0 then release_payload(chunk) end
return { 'purged', NAME[state] }
