-- Where one mail stands. Returns false for an unknown one, else
-- {state, lane, created, expires, record (27 bytes or empty), note (msgpack or empty), payload kept (0 or 1), deliveries
-- (msgpack or empty)}.

local chunk_id, row = locate(args.id)
row = row or 0
local chunk = open(chunk_id)
if not chunk or row >= #chunk.rows then return false end
return {
  NAME[state_of(chunk, row)], chunk.lane, chunk.created, chunk.expires,
  redis.call('GETRANGE', RECORDS .. chunk_id, row * RECORD, row * RECORD + RECORD - 1),
  redis.call('HGET', NOTES .. chunk_id, row) or '',
  redis.call('EXISTS', PAYLOAD .. chunk_id),
  redis.call('HGET', DELIVERIES .. chunk_id, row) or '',
}
