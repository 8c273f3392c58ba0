-- Open a batch, or find the one that the same key has opened before.
-- Returns {what, id, rows stored, running hash, sealed}: what is "open", "conflict" or "full".

local function already_keyed()
  if not args.key then return nil end
  local stored = redis.call('GET', KEY .. args.key)
  if not stored then return nil end
  local id, fingerprint = stored:match('^(%S+) (%S+)$')
  if fingerprint ~= args.fingerprint then return { 'conflict', id, 0, '', 0 } end
  local batch = redis.call('HMGET', BATCH .. id, 'total', 'running', 'sealed')
  if not batch[1] then return { 'conflict', id, 0, '', 0 } end
  return { 'open', id, tonumber(batch[1]), batch[2], batch[3] and 1 or 0 }
end

local known = already_keyed()
if known then return known end
if is_full() then return { 'full', args.id, 0, '', 0 } end

local key = BATCH .. args.id
if redis.call('EXISTS', key) == 0 then
  redis.call('HSET', key,
    'lane', args.lane, 'policy', args.policy, 'created', now, 'send_at', args.send_at,
    'expires', math.max(now, args.send_at) + args.expires_in,
    'total', 0, 'running', '', 'wake_up', args.wake_up)
  if args['then'] then redis.call('HSET', key, 'then', args['then']) end
  if args.key then
    redis.call('HSET', key, 'key', args.key)
    redis.call('SET', KEY .. args.key, args.id .. ' ' .. args.fingerprint)
  end
  redis.call('ZADD', UNSEALED, now, args.id)
end
return { 'open', args.id, 0, '', 0 }
