-- A page of the dead letters, newest chunks first. args.score and args.skip say where to go on: below that score, and
-- after so many of the same. Returns {{chunk, lane, content kept (0 or 1), {{place, state, note, record}, …}}, …}, and the
-- score and skip of the next page, or nothing at the end.

local CHUNKS = 20

local function dead_rows(chunk)
  local rows = {}
  for place = 0, #chunk.rows - 1 do
    if DEAD[state_of(chunk, place)] and not note_of(chunk, place).purged then
      rows[#rows + 1] = {
        place, string.char(state_of(chunk, place)), redis.call('HGET', NOTES .. chunk.id, place) or '',
        redis.call('GETRANGE', RECORDS .. chunk.id, place * RECORD, place * RECORD + RECORD - 1),
      }
    end
  end
  return rows
end

local top = args.score and string.format('%.0f', args.score) or '+inf'
local page = redis.call('ZREVRANGEBYSCORE', DEAD_LETTERS, top, '-inf', 'WITHSCORES', 'LIMIT', args.skip, CHUNKS)
local found, last, skip = {}, args.score, args.skip
for index = 1, #page, 2 do
  local chunk, score = open(page[index]), tonumber(page[index + 1])
  skip = score == last and skip + 1 or 1
  last = score
  local rows = chunk and not (args.batch and chunk.batch ~= args.batch) and dead_rows(chunk) or {}
  if #rows > 0 then
    found[#found + 1] = { chunk.id, chunk.lane, redis.call('EXISTS', PAYLOAD .. chunk.id), rows }
  end
end
if #page < 2 * CHUNKS then return { found } end
return { found, last, skip }
