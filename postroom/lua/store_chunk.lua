-- Store the next mails of an open batch. ARGV[3] is their payload. Nothing of it can be claimed before the seal.
-- Returns {what, rows stored}: "stored", "gone" (no such open batch), "behind" (another producer is elsewhere), "full".

local key = BATCH .. args.batch
local batch = redis.call('HMGET', key, 'lane', 'policy', 'expires', 'send_at', 'total', 'running', 'sealed')
if not batch[1] then return { 'gone', 0 } end
local total = tonumber(batch[5])
local id = args.batch .. '.' .. args.first_row

if total == args.first_row + args.rows and batch[6] == args.running and redis.call('EXISTS', CHUNK .. id) == 1 then
  return { 'stored', total } -- said again, after a lost reply
end
if batch[7] or total ~= args.first_row then return { 'behind', total } end
if is_full() then return { 'full', total } end

redis.call('HSET', CHUNK .. id,
  'states', string.rep('q', args.rows), 'lane', batch[1], 'policy', batch[2], 'expires', batch[3], 'created', now)
if batch[4] ~= '0' then redis.call('HSET', CHUNK .. id, 'send_at', batch[4]) end
if args.recipients then redis.call('HSET', CHUNK .. id, 'recipients', args.recipients) end
if args.merged then redis.call('HSET', CHUNK .. id, 'merged', 1) end
redis.call('SET', PAYLOAD .. id, ARGV[3])
redis.call('RPUSH', chunks_of(args.batch), args.first_row)
redis.call('HSET', key, 'total', total + args.rows, 'running', args.running)
redis.call('ZADD', UNSEALED, 'XX', now, args.batch)
return { 'stored', total + args.rows }
