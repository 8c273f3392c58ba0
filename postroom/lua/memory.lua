-- Redis short of memory takes no more mail, so that what it has can still be sent and settled.

local MEMORY = 'postroom:memory'

-- INFO costs tens of microseconds, so its answer is kept for a second.
local function is_full()
  local known = redis.call('GET', MEMORY)
  if known then return known == 'full' end
  local info = redis.call('INFO', 'memory')
  local used = tonumber(info:match('\nused_memory:(%d+)'))
  local limit = tonumber(info:match('\nmaxmemory:(%d+)'))
  local full = limit > 0 and used > limit * 0.85
  redis.call('SET', MEMORY, full and 'full' or 'free', 'PX', 1000)
  return full
end
