-- The wake-ups of a sealed batch, a page at a time, made from its ids.

local function announce_page(id)
  local key = BATCH .. id
  local batch = redis.call('HMGET', key, 'lane', 'cursor', 'wake_up', 'expires')
  if not batch[1] then
    redis.call('ZREM', ANNOUNCE, id)
    return 0
  end
  local cursor = tonumber(batch[2])
  local first_rows = redis.call('LRANGE', chunks_of(id), cursor, cursor + PAGE - 1)
  local messages, scores, deadlines = {}, {}, {}
  for index, first_row in ipairs(first_rows) do
    local chunk_id = id .. '.' .. first_row
    redis.call('HSET', CHUNK .. chunk_id, 'announced', 1)
    messages[index] = wake_up(batch[3], chunk_id)
    scores[2 * index - 1], scores[2 * index] = now, chunk_id
    deadlines[2 * index - 1], deadlines[2 * index] = batch[4], chunk_id
  end
  if #messages > 0 then
    redis.call('LPUSH', batch[1], unpack(messages))
    redis.call('ZADD', ANNOUNCED .. batch[1], unpack(scores))
    redis.call('ZADD', DEADLINES, unpack(deadlines))
    redis.call('HSET', key, 'cursor', cursor + #messages)
  end
  if #messages < PAGE then redis.call('ZREM', ANNOUNCE, id) end
  return #messages
end
