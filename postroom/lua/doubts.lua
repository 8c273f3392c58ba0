-- A page of the mails in doubt, by when their grace ends. args.start: how many to skip. Returns
-- {{id, lane, policy, when the grace ends (milliseconds), note, record}, …} and where to go on, -1 at the end.

local MAILS = 100

local page = redis.call('ZRANGE', DOUBTS, args.start, args.start + MAILS - 1, 'WITHSCORES')
local found = {}
for index = 1, #page, 2 do
  local chunk_id, row = locate(page[index])
  local chunk = open(chunk_id)
  row = row or 0
  if chunk and state_of(chunk, row) == IN_DOUBT then
    found[#found + 1] = {
      page[index], chunk.lane, chunk.policy, page[index + 1], redis.call('HGET', NOTES .. chunk_id, row) or '',
      redis.call('GETRANGE', RECORDS .. chunk_id, row * RECORD, row * RECORD + RECORD - 1),
    }
  end
end
return { found, #page == 2 * MAILS and args.start + MAILS or -1 }
