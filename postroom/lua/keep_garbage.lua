-- Keep a foreign message that was found in a lane, ARGV[3]. Returns how many were found since the ledger began.

local MOST = 1000 -- the newest are kept

redis.call('LPUSH', GARBAGE, ARGV[3])
redis.call('LTRIM', GARBAGE, 0, MOST - 1)
return redis.call('HINCRBY', STATS, 'garbage', 1)
