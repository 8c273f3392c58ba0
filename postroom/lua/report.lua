-- Record a batch's report: a snapshot of its counts, taken once, when every mail of it is finished.

local function record_report(id, by)
  local key = BATCH .. id
  local stored = redis.call('HMGET', key, 'final_at', 'reported_at', 'then', unpack(FINISHED_NAMES))
  if not stored[1] or stored[2] then return false end
  local counts = {}
  for index, name in ipairs(FINISHED_NAMES) do counts[name] = tonumber(stored[index + 3] or 0) end
  redis.call('HSET', key, 'reported_at', now, 'reported_by', by, 'report', cmsgpack.pack(counts))
  redis.call('ZREM', UNREPORTED, id)
  -- The chord's body publishes `then` itself, right after this; a caretaker is told to by its next sweep.
  if stored[3] then redis.call('ZADD', THEN, by == 'caretaker' and 0 or now, id) end
  count('reported_by_' .. by)
  return true
end
