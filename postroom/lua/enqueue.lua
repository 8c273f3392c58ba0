-- Take a single: ledger and wake-up in one step. ARGV[3] is its payload.
-- Returns {what, id}: "enqueued", "known" (same id or same key before), "conflict" (same key, other mail), "full".

local template = args.drain

local function already_keyed()
  if not args.key then return nil end
  local stored = redis.call('GET', KEY .. args.key)
  if not stored then return nil end
  local id, fingerprint = stored:match('^(%S+) (%S+)$')
  return { fingerprint == args.fingerprint and 'known' or 'conflict', id }
end

local known = already_keyed()
if known then return known end
if redis.call('EXISTS', CHUNK .. args.id) == 1 then return { 'known', args.id } end
if is_full() then return { 'full', args.id } end

local is_due = args.send_at <= now
redis.call('HSET', CHUNK .. args.id,
  'states', is_due and 'q' or 'w', 'lane', args.lane, 'policy', args.policy, 'created', now,
  'expires', math.max(now, args.send_at) + args.expires_in)
if args.recipients then redis.call('HSET', CHUNK .. args.id, 'recipients', args.recipients) end
if args.send_at > 0 then redis.call('HSET', CHUNK .. args.id, 'send_at', args.send_at) end
if args.key then
  redis.call('HSET', CHUNK .. args.id, 'key', args.key)
  redis.call('SET', KEY .. args.key, args.id .. ' ' .. args.fingerprint)
end
redis.call('SET', PAYLOAD .. args.id, ARGV[3])
redis.call('ZADD', DEADLINES, math.max(now, args.send_at) + args.expires_in, args.id)

if is_due then
  redis.call('RPUSH', singles_of(args.lane), args.id)
  wake_lane(args.lane, template, args.id)
else
  redis.call('ZADD', DUE, args.send_at, args.id)
end
return { 'enqueued', args.id }
