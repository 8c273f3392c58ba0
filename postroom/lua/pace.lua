-- Pace: how many mails (or recipients) a second may be claimed, by the whole fleet, of a lane and of an account.
--
-- Each has a bucket of tokens, of which a claim takes one for each mail. It fills at the rate that is set, up to what it
-- gains in a tenth of a second: so in any second at most rate + burst are claimed. Bulk leaves a part of the account's
-- bucket for transactional mail, which therefore goes first and at once. A mail to more recipients than the bucket holds
-- is sent as well; what follows waits until that is made up for.
--
-- rules.pace: `all`, `transactional`, `bulk`: tokens a second by the settings, or nothing; `recipients`: a mail costs as
-- many tokens as it has recipients; `kept`: the part of a bucket that bulk leaves.

local PACE = 'postroom:pace'
local BURST, LEAST_BURST = 0.1, 2 -- seconds; tokens
local SHORTEST_WAIT = 20          -- milliseconds: a bucket is not emptied drop by drop
local SLOW_ABOVE = 20             -- a second; a 429 at a lower pace than this has other reasons than the pace
local CLIMB, SLOW_LIFE = 20000, 60000

-- What an operator has set stands above the settings; 'none' is no limit.
local function set_rate(name)
  local by_hand = redis.call('HGET', PACE, name)
  if by_hand == 'none' then return nil end
  return tonumber(by_hand or rules.pace[name])
end

-- An account that was too fast goes on at half its pace, and climbs again: twice as fast each 20 s, no longer held after 60 s.
local function slow_rate(slow, since)
  if not slow or now - since > SLOW_LIFE then return nil end
  return slow * (1 + math.max(0, now - since) / CLIMB)
end

local function read_bucket(kind, name, rate)
  local key = PACE .. ':' .. kind .. ':' .. name
  local stored = redis.call('HMGET', key, 'level', 'at', 'second', 'count', 'before', 'slow', 'since')
  local bucket = {
    key = key, second = tonumber(stored[3] or 0), count = tonumber(stored[4] or 0), before = tonumber(stored[5] or 0),
    slow = slow_rate(tonumber(stored[6]), tonumber(stored[7])), since = tonumber(stored[7] or 0),
  }
  bucket.rate = bucket.slow and math.min(bucket.slow, rate or bucket.slow) or rate
  if bucket.rate then
    bucket.depth = math.max(LEAST_BURST, bucket.rate * BURST)
    local gained = math.max(0, now - tonumber(stored[2] or 0)) * bucket.rate / 1000
    bucket.level = math.min(bucket.depth, tonumber(stored[1] or bucket.depth) + gained)
  end
  return bucket
end

-- How much a second it was: in the last whole second, or in this one if that is more already.
local function recent_rate(bucket)
  local second = math.floor(now / 1000)
  if bucket.second == second then return math.max(bucket.count, bucket.before) end
  return bucket.second == second - 1 and bucket.count or 0
end

local function read_pace(account, lane)
  local pace = {
    account = read_bucket('account', account, set_rate('all')),
    lane = read_bucket('lane', lane, set_rate(lane)),
  }
  local depth = pace.account.depth
  pace.account.kept = depth and lane == 'bulk' and math.max(1, depth * rules.pace.kept) or 0
  pace.lane.kept = 0
  return pace
end

-- How many tokens a claim may take; if none, how many milliseconds it must wait until it is worth to ask again.
local function allowance(pace)
  local allowed, wait = math.huge, 0
  for _, bucket in ipairs({ pace.account, pace.lane }) do
    if bucket.rate then
      local free = bucket.level - bucket.kept + 0.000001
      if free < 1 then
        local worth_it = math.max(1, math.min(args.limit, math.floor((bucket.depth - bucket.kept) / 2)))
        wait = math.max(wait, SHORTEST_WAIT, math.ceil((worth_it - free) * 1000 / bucket.rate))
      end
      allowed = math.min(allowed, math.floor(free))
    end
  end
  if wait > 0 then return 0, wait end
  return allowed, 0
end

local function cost_of(chunk, row)
  if not (rules.pace.recipients and chunk.recipients) then return 1 end
  chunk.costs = chunk.costs or cjson.decode(chunk.recipients)
  return chunk.costs[row + 1] or 1
end

local function spend(pace, tokens)
  if tokens == 0 then return end
  local second = math.floor(now / 1000)
  for _, bucket in ipairs({ pace.account, pace.lane }) do
    local before = bucket.second == second and bucket.before or bucket.second == second - 1 and bucket.count or 0
    local count = (bucket.second == second and bucket.count or 0) + tokens
    redis.call('HSET', bucket.key, 'second', second, 'count', count, 'before', before)
    if bucket.rate then redis.call('HSET', bucket.key, 'level', bucket.level - tokens, 'at', now) end
  end
end

-- SendGrid has said that it was too much, and the account goes on after `resumes`. While it has not gone on since, what
-- was on its way says it again.
local function slow_down(account, resumes)
  local bucket = read_bucket('account', account, nil)
  local rate = recent_rate(bucket)
  if bucket.since > now or rate < SLOW_ABOVE then return end
  redis.call('HSET', bucket.key, 'slow', rate / 2, 'since', resumes, 'level', 0, 'at', resumes)
end
