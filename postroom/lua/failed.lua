-- The mails of a page of a batch's chunks that the report calls failed: not accepted, or not when it was taken.
-- Returns {{chunk, {{place, state, note}, …}}, …} and where to go on, -1 at the end.

local CHUNKS = 20

local function failed_rows(id)
  local states = redis.call('HGET', CHUNK .. id, 'states')
  local rows = {}
  if not states then return rows end
  local notes = {}
  local stored = redis.call('HGETALL', NOTES .. id)
  for index = 1, #stored, 2 do notes[stored[index]] = stored[index + 1] end
  for place = 0, #states - 1 do
    local state = states:byte(place + 1)
    local note = notes[tostring(place)] or ''
    local changed = note ~= '' and cmsgpack.unpack(note).was
    if changed or (FINISHED[state] and state ~= ACCEPTED) then
      rows[#rows + 1] = { place, string.char(state), note }
    end
  end
  return rows
end

local first_rows = redis.call('LRANGE', chunks_of(args.batch), args.start, args.start + CHUNKS - 1)
local found = {}
for _, first_row in ipairs(first_rows) do
  local id = args.batch .. '.' .. first_row
  local rows = failed_rows(id)
  if #rows > 0 then found[#found + 1] = { id, rows } end
end
return { found, #first_rows == CHUNKS and args.start + CHUNKS or -1 }
