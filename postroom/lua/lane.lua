-- Singles wait in their lane; a drain takes along what waits there.

local HANDFUL = 4

-- A drain is announced only while fewer than a handful of them wait: one takes many mails.
local function wake_lane(lane, template, id)
  local key = LANE .. lane
  local drains = tonumber(redis.call('HGET', key, 'drains') or 0)
  if drains >= HANDFUL then
    if redis.call('LLEN', lane) > 0 then return end
    drains = 0 -- an empty queue holds no drain, whatever was counted: they were lost
  end
  redis.call('LPUSH', lane, wake_up(template, 'drain-' .. id))
  redis.call('HSET', key, 'drains', drains + 1, 'announced', now)
end

local function drain_started(lane)
  local key = LANE .. lane
  local drains = tonumber(redis.call('HGET', key, 'drains') or 0)
  if drains > 0 then redis.call('HSET', key, 'drains', drains - 1) end
end
