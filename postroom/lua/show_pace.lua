-- What the pace is now, of these accounts and lanes. Returns a msgpack list of maps: `name`, `rate` (tokens a second,
-- or nothing), `by_hand` (whether an operator has set it), `recent` (tokens a second, of late), `slow` (after a 429).

local function shown(kind, name, setting)
  local rate = set_rate(setting)
  local bucket = read_bucket(kind, name, rate)
  return {
    name = name, rate = rate, by_hand = redis.call('HEXISTS', PACE, setting) == 1,
    recent = recent_rate(bucket), slow = bucket.slow,
  }
end

local found = {}
for _, name in ipairs(args.accounts) do found[#found + 1] = shown('account', name, 'all') end
for _, name in ipairs(args.lanes) do found[#found + 1] = shown('lane', name, name) end
return cmsgpack.pack(found)
