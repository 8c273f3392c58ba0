-- Seal a batch: from now on it can be claimed. Writes the chord's size; wake-ups follow in pages.
-- args.rows is how many mails it should have. Returns {what, chunks}: "sealed", "gone", or "behind" (it has others:
-- another producer is at work on it).

local key = BATCH .. args.batch
local batch = redis.call('HMGET', key, 'sealed', 'total', 'send_at', 'lane')
if not batch[2] then return { 'gone', 0 } end
local chunks = redis.call('LLEN', chunks_of(args.batch))
if tonumber(batch[2]) ~= args.rows then return { 'behind', chunks } end
if batch[1] then return { 'sealed', chunks } end

redis.call('HSET', key, 'sealed', now, 'queued', batch[2], 'cursor', 0)
redis.call('ZREM', UNSEALED, args.batch)
if chunks > 0 then
  redis.call('SET', args.chord_size_key, chunks, 'PX', args.chord_expires)
  redis.call('ZADD', ANNOUNCE, math.max(now, tonumber(batch[3])), args.batch)
else
  finish_batch(args.batch)
  redis.call('LPUSH', batch[4], wake_up(args.report, args.batch)) -- a chord without a header is its body
end
return { 'sealed', chunks }
