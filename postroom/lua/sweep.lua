-- The caretaker's step: whatever time alone brings about. It also says that its owner is alive.
--
-- args.drains: a wake-up template a lane. Returns a msgpack map: `swept`, false if another caretaker just did;
-- `more`, whether a limit cut something short; `thens`, {batch, signature}; `trims`, chunks; `dead`, owners judged;
-- `step`, the step counter; `stopped`, whether the fleet is stopped.

local MOST = 200         -- of each kind in one step
local MAILS_MOST = 2000  -- judged, or expired, in one step; the window or chunk that reaches it is done whole
local OWNERS_MOST = 5     -- found dead in one step
local CHUNKS_MOST = 20   -- expired in one step
local PAGES_MOST = 2     -- of wake-ups, one a batch, pushed in one step
local EACH = 900         -- milliseconds between sweeps, fleet-wide
local GAP = 2000         -- after a longer one (Redis was away) nobody is judged for one full life
local LOOK_AGAIN = 60000
local TAIL = 20 -- messages of a lane that are looked at
local REPORT_LATE = 10000
local WAKE_FIRST, WAKE_LAST = 5000, 300000
local UNSEALED_LIFE = 24 * 3600 * 1000
local SWEPT_AT, JUDGE_FROM = 'postroom:swept_at', 'postroom:judge_from'

local more = false
local dead = {}
local due_lanes = {} -- where singles have come due

local function due_of(index, at, most)
  most = most or MOST
  local found = redis.call('ZRANGEBYSCORE', index, '-inf', at, 'LIMIT', 0, most)
  if #found == most then more = true end
  return found
end

local function may_judge(swept_at)
  if not swept_at or math.abs(now - swept_at) > GAP then
    redis.call('SET', JUDGE_FROM, now + rules.life)
    return false
  end
  return now >= tonumber(redis.call('GET', JUDGE_FROM) or 0)
end

local function judge()
  local left = MAILS_MOST
  for _, owner in ipairs(due_of(OWNERS, now - rules.life, OWNERS_MOST)) do
    if left <= 0 then break end
    dead[#dead + 1] = owner
    left = left - judge_owner(owner, left)
  end
  for _, nonce in ipairs(due_of(OVERDUE, now)) do
    if left <= 0 then break end
    left = left - judge_window(nonce, 'overdue')
  end
  if left <= 0 then more = true end
end

local function requeue_due(chunk, row)
  requeue(chunk, row)
  if chunk.batch then chunk.due = true else due_lanes[chunk.lane] = true end
end

-- Retries and scheduled singles whose time has come.
local function queue_due()
  for _, id in ipairs(due_of(DUE, now)) do
    redis.call('ZREM', DUE, id)
    local chunk_id, row = locate(id)
    local chunk = open(chunk_id)
    row = row or 0
    if chunk and state_of(chunk, row) == WAITING then
      if now >= chunk.expires then
        fail(chunk, row, EXPIRED, 'expired')
      else
        requeue_due(chunk, row)
      end
    end
  end
end

-- The grace is over and no evidence came: one more copy, if that is the policy and it is the first doubt.
local function end_doubts()
  for _, id in ipairs(due_of(DOUBTS, now)) do
    redis.call('ZREM', DOUBTS, id)
    local chunk_id, row = locate(id)
    local chunk = open(chunk_id)
    row = row or 0
    if chunk and state_of(chunk, row) == IN_DOUBT then
      local note = change_note(chunk, row)
      if chunk.policy ~= 'resend' or note.doubts > 1 then
        move(chunk, row, UNRESOLVED)
      elseif now >= chunk.expires then
        fail(chunk, row, EXPIRED, 'expired')
      elseif attempts_left(chunk, row) <= 0 then
        fail(chunk, row, EXHAUSTED, note.reason)
      else
        count_in_batch(chunk, 'resends')
        requeue_due(chunk, row)
      end
    end
  end
end

local function expire()
  local left = MAILS_MOST
  for _, id in ipairs(due_of(DEADLINES, now, CHUNKS_MOST)) do
    if left <= 0 then
      more = true
      break
    end
    local chunk = open(id)
    if chunk then
      expire_queued(chunk)
      left = left - #chunk.rows
    end
    if chunk and chunk.unfinished > 0 then
      redis.call('ZADD', DEADLINES, now + LOOK_AGAIN, id) -- on the wire, or in doubt: that ends by itself
    else
      redis.call('ZREM', DEADLINES, id)
    end
  end
end

-- When the oldest wake-up that still waits in a lane was announced. Whoever was announced before it, and is still
-- waiting, waits for a wake-up that is lost. Not every message tells: a chord's body, which Celery publishes, does not,
-- nor does a foreign one. Among nothing but those, nobody is taken for lost.
local function oldest_waiting(lane)
  local messages = redis.call('LRANGE', lane, -TAIL, -1)
  for index = #messages, 1, -1 do
    local at = messages[index]:match('"postroom_at": ?"(%d+)"')
    if at then return tonumber(at) end
  end
  return #messages == 0 and now or 0
end

-- A claimable chunk whose wake-up is neither waiting nor at work is announced again, each time after twice as long.
local function wake_chunks(lane, oldest)
  local lost = redis.call('ZRANGEBYSCORE', ANNOUNCED .. lane, '-inf', oldest - WAKE_FIRST, 'LIMIT', 0, 100)
  for _, id in ipairs(lost) do
    local chunk = open(id)
    if not chunk or not has_claimable(chunk) then
      redis.call('ZREM', ANNOUNCED .. lane, id)
    elseif chunk.live > 0 then
      redis.call('ZADD', ANNOUNCED .. lane, now, id)
    else
      local interval = math.min(WAKE_LAST, 2 * tonumber(chunk.interval or WAKE_FIRST))
      announce(chunk)
      count('announced_again')
      redis.call('HSET', CHUNK .. id, 'interval', interval)
      redis.call('ZADD', ANNOUNCED .. lane, now + interval - WAKE_FIRST, id)
    end
  end
end

local function wake_singles(lane, oldest)
  if redis.call('LLEN', singles_of(lane)) + redis.call('LLEN', alone_of(lane)) == 0 then return end
  local announced = tonumber(redis.call('HGET', LANE .. lane, 'announced') or 0)
  local is_lost = announced < oldest - WAKE_FIRST
  if redis.call('LLEN', lane) == 0 or is_lost or due_lanes[lane] then
    if is_lost then redis.call('HSET', LANE .. lane, 'drains', 0) end
    wake_lane(lane, args.drains[lane], args.owner .. '.' .. string.format('%.0f', now))
  end
end

local function drop_unsealed()
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', UNSEALED, '-inf', now - UNSEALED_LIFE, 'LIMIT', 0, 1)) do
    if drop_page(id) then count('unsealed_dropped') end
    more = true
  end
end

local function pending_thens()
  local thens = {}
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', THEN, '-inf', now - REPORT_LATE, 'LIMIT', 0, 20)) do
    local signature = redis.call('HGET', BATCH .. id, 'then')
    if signature then
      redis.call('ZADD', THEN, now, id)
      thens[#thens + 1] = { id, signature }
    else
      redis.call('ZREM', THEN, id) -- nobody could publish it for as long as its batch was kept
    end
  end
  return thens
end

-- A dead letter is kept as long as its chunk.
local function forget_dead_letters()
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', DEAD_LETTERS, '-inf', now - rules.keep, 'LIMIT', 0, MOST)) do
    if redis.call('EXISTS', CHUNK .. id) == 0 then
      redis.call('ZREM', DEAD_LETTERS, id)
    else
      redis.call('ZADD', DEAD_LETTERS, now - rules.keep + LOOK_AGAIN, id)
    end
  end
end

local function late_trims()
  if redis.call('SCARD', TRIM) == 0 then return {} end
  return redis.call('SRANDMEMBER', TRIM, 20)
end

local function nothing(stopped)
  return cmsgpack.pack({ swept = false, stopped = stopped, more = false, thens = {}, trims = {}, dead = {} })
end

redis.call('ZADD', OWNERS, now, args.owner)
if is_stopped(args.seen) then return nothing(true) end
local swept_at = tonumber(redis.call('GET', SWEPT_AT))
if swept_at and now >= swept_at and now - swept_at < EACH and not args.again then return nothing(false) end
local step = redis.call('INCR', STEP)
if may_judge(swept_at) then judge() end
redis.call('SET', SWEPT_AT, now)
queue_due()
end_doubts()
expire()
close_all()
open_chunks = {}
drop_unsealed()
forget_dead_letters()
for _, id in ipairs(due_of(ANNOUNCE, now, PAGES_MOST)) do
  if announce_page(id) == PAGE then more = true end
end
for lane in pairs(args.drains) do
  local oldest = oldest_waiting(lane)
  wake_chunks(lane, oldest)
  wake_singles(lane, oldest)
end
for _, id in ipairs(due_of(UNREPORTED, now - REPORT_LATE)) do
  if not record_report(id, 'caretaker') then redis.call('ZREM', UNREPORTED, id) end
end
return cmsgpack.pack({
  swept = true, step = step, more = more, thens = pending_thens(), trims = late_trims(), dead = dead,
})
