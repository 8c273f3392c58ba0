-- Claim: from queued to sending, for the mails that go on the wire now.
--
-- Two sources: the rows of a chunk (args.chunk), or the singles of a lane (args.lane). Returned: a msgpack map with
-- `verdict` "claimed" (with `groups`: {chunk, {{row, attempt}, …}}), "finished", "idle" (nothing is due), "wait"
-- (paused or paced: `wait` milliseconds, `reason`), "give_way" (more urgent singles wait, of args.gives_way_to),
-- "stopped", or "unknown"; and, if it is told, `step`, the step counter. For singles the payloads follow in the reply.

local MOST_BYTES = 8 * 1024 * 1024 -- of compressed payloads in one window of singles
local MOST_IDS = 500               -- taken from a lane in one step, most of them may be finished by now

local nonce = args.nonce
-- Redis keeps what a script has written before it fails, so what is malformed must fail before.
assert(type(nonce) == 'string' and type(args.owner) == 'string', 'a claim says whose it is')
local until_ms = now + rules.deadline + rules.slack
local groups, payloads = {}, {}
local step
local spent = 0 -- tokens of the pace

local function reply(verdict, extra)
  local map = extra or {}
  map.verdict, map.groups, map.step = verdict, groups, step
  return { cmsgpack.pack(map), unpack(payloads) }
end

-- Merged mails are one request: they cost a token each where recipients are counted, else one in all.
local function is_paid(chunk) return chunk.merged and spent > 0 and not rules.pace.recipients end

local function take(chunk, row)
  if not is_paid(chunk) then spent = spent + cost_of(chunk, row) end
  move(chunk, row, SENDING)
  local group = groups[#groups]
  if not group or group[1] ~= chunk.id then
    group = { chunk.id, {} }
    groups[#groups + 1] = group
    chunk.live = chunk.live + 1
  end
  group[2][#group[2] + 1] = { row, record_of(chunk, row).attempts + 1 }
end

local function open_window(account, probe)
  if #groups == 0 then return end
  step = redis.call('INCR', STEP)
  local rows_of = {}
  for index, group in ipairs(groups) do
    local rows = {}
    for place, mail in ipairs(group[2]) do rows[place] = mail[1] end
    rows_of[index] = { group[1], rows }
  end
  write_window(nonce, { nonce = nonce, account = account.name, probe = probe, groups = rows_of, until_ms = until_ms })
  redis.call('ZADD', OVERDUE, until_ms, nonce)
  redis.call('ZADD', OWNERS, now, args.owner)
  if probe then start_probe(account, nonce, until_ms) end
end

-- A claim that is said again, after a lost reply, gets the same window, without what evidence has settled since.
local function repeated(window)
  for _, group in ipairs(window.groups) do
    local chunk = open(group[1])
    local mails = {}
    for _, row in ipairs(group[2]) do
      if chunk and state_of(chunk, row) == SENDING then
        mails[#mails + 1] = { row, record_of(chunk, row).attempts + 1 }
      end
    end
    if #mails > 0 then
      groups[#groups + 1] = { group[1], mails }
      if not chunk.batch then payloads[#payloads + 1] = redis.call('GET', PAYLOAD .. chunk.id) end
    end
  end
  step = tonumber(redis.call('GET', STEP))
  return reply('claimed')
end

-- What the account and the pace allow: at most so many mails, that cost so many tokens. If nothing is allowed, there are
-- the milliseconds to wait, and why.
local function allowed_by(account, pace)
  local wait, probe = gate(account)
  if wait > 0 then return { wait = wait, reason = account.reason } end
  local tokens
  tokens, wait = allowance(pace)
  if wait > 0 then return { wait = wait, reason = 'pace' } end
  return { wait = 0, tokens = tokens, mails = probe and 1 or args.limit, probe = probe }
end

-- Whether somebody waits for a single of a more urgent lane, which could be sent now.
local function must_give_way()
  local urgent = args.gives_way_to
  if not urgent then return false end
  if redis.call('LLEN', singles_of(urgent.lane)) + redis.call('LLEN', alone_of(urgent.lane)) == 0 then return false end
  return allowed_by(read_account(urgent.account), read_pace(urgent.account, urgent.lane)).wait == 0
end

local function take_rows(chunk, wanted, most, tokens)
  local taken = 0
  for row, state in ipairs(chunk.rows) do
    if taken == most or (spent >= tokens and not is_paid(chunk)) then break end
    if state == wanted then
      take(chunk, row - 1)
      taken = taken + 1
    end
  end
  return taken
end

-- What is claimed alone of a merged chunk was in one request before, and is so again.
local function claim_rows(chunk, allowed)
  local request = chunk.merged and (allowed.probe and 1 or #chunk.rows)
  if take_rows(chunk, ALONE, request or 1, allowed.tokens) == 0 then
    take_rows(chunk, QUEUED, request or allowed.mails, allowed.tokens)
  end
end

local function claim_chunk()
  local chunk = open(args.chunk)
  if not chunk then return reply('unknown') end
  if chunk.announced and args.first then -- the wake-up that this task came with is used up
    redis.call('HDEL', CHUNK .. chunk.id, 'announced')
    chunk.announced = nil
  end
  if chunk.unfinished == 0 then return reply('finished', { size = #chunk.rows }) end
  if chunk.batch and redis.call('HEXISTS', BATCH .. chunk.batch, 'sealed') == 0 then return reply('idle') end
  if chunk.send_at > now then return reply('idle') end
  chunk.touched = true
  local gives_way = must_give_way()
  local account, pace = read_account(args.account), read_pace(args.account, chunk.lane)
  if now >= chunk.expires then expire_queued(chunk) end
  local allowed = allowed_by(account, pace)
  if allowed.wait == 0 and not gives_way then
    claim_rows(chunk, allowed)
    spend(pace, spent)
    open_window(account, allowed.probe)
  end
  close(chunk)
  if #groups > 0 then return reply('claimed') end
  if chunk.unfinished == 0 then return reply('finished', { size = #chunk.rows }) end
  if not has_claimable(chunk) then return reply('idle') end
  if gives_way then return reply('give_way') end
  return reply('wait', { wait = allowed.wait, reason = allowed.reason })
end

-- Pop singles until the window is full. An id may stand in the list twice, or be finished by now: its state decides.
local function claim_singles(list, mails, tokens)
  local taken, bytes = 0, 0
  for _ = 1, MOST_IDS do
    if taken == mails or spent >= tokens or bytes >= MOST_BYTES then break end
    local id = redis.call('LPOP', list)
    if not id then break end
    local chunk = open(id)
    if chunk and is_claimable(state_of(chunk, 0)) then
      local payload = redis.call('GET', PAYLOAD .. id)
      if now >= chunk.expires then
        expire_queued(chunk)
      elseif not payload then
        fail(chunk, 0, REJECTED, 'content_gone')
      else
        take(chunk, 0)
        payloads[#payloads + 1] = payload
        taken, bytes = taken + 1, bytes + #payload
      end
    end
  end
  return taken
end

local function claim_lane()
  if args.first then drain_started(args.lane) end
  local alone, singles = alone_of(args.lane), singles_of(args.lane)
  if redis.call('LLEN', alone) + redis.call('LLEN', singles) == 0 then return reply('idle') end
  if must_give_way() then return reply('give_way') end
  local account, pace = read_account(args.account), read_pace(args.account, args.lane)
  local allowed = allowed_by(account, pace)
  if allowed.wait > 0 then return reply('wait', { wait = allowed.wait, reason = allowed.reason }) end
  if claim_singles(alone, 1, allowed.tokens) == 0 then claim_singles(singles, allowed.mails, allowed.tokens) end
  spend(pace, spent)
  open_window(account, allowed.probe)
  close_all()
  local is_empty = redis.call('LLEN', alone) + redis.call('LLEN', singles) == 0
  if #groups == 0 then return is_empty and reply('idle') or reply('wait', { wait = 0, reason = '' }) end
  if not is_empty then wake_lane(args.lane, args.drain, nonce) end
  return reply('claimed')
end

if is_stopped(args.seen) then return reply('stopped') end
local window = read_window(nonce)
if window then return repeated(window) end
if args.chunk then return claim_chunk() end
return claim_lane()
