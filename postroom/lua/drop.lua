-- An unsealed batch goes, a page of chunks at a time, and its key is free again.

local DROP_PAGE = 200

-- True when all of it is gone. From the first page on nobody can go on with it.
local function drop_page(id)
  local key = redis.call('HGET', BATCH .. id, 'key')
  if key then redis.call('DEL', KEY .. key) end
  redis.call('HDEL', BATCH .. id, 'key', 'lane', 'total')
  local first_rows = redis.call('LRANGE', chunks_of(id), 0, DROP_PAGE - 1)
  for _, first_row in ipairs(first_rows) do
    redis.call('DEL', CHUNK .. id .. '.' .. first_row, PAYLOAD .. id .. '.' .. first_row)
  end
  redis.call('LTRIM', chunks_of(id), DROP_PAGE, -1)
  if #first_rows == DROP_PAGE then return false end
  redis.call('DEL', BATCH .. id, chunks_of(id))
  redis.call('ZREM', UNSEALED, id)
  return true
end
