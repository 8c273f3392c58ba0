-- The account at SendGrid: one pause for the whole fleet, and one probe at a time when it may be over.
--
-- kind "limited": SendGrid said until when (429); then all go on. "refused" (401, 403) and "outage" (five requests in
-- a row that were not sent, or answered with 503): one mail at a time is tried, 1 to 60 s apart, until one goes well.

local IN_A_ROW = 5
local FIRST_PAUSE, LONGEST_PAUSE = 1000, 60000

local function read_account(name)
  local stored = redis.call('HMGET', ACCOUNT .. name, 'kind', 'until', 'interval', 'probe', 'probe_until', 'reason')
  return {
    name = name, kind = stored[1], until_ms = tonumber(stored[2] or 0), interval = tonumber(stored[3] or 0),
    probe = stored[4], probe_until = tonumber(stored[5] or 0), reason = stored[6] or '',
  }
end

-- How long a claim must wait, and whether it would be the probe.
local function gate(account)
  if not account.kind then return 0, false end
  if now < account.until_ms then return account.until_ms - now, false end
  if account.kind == 'limited' then return 0, false end
  if account.probe and now < account.probe_until then return account.probe_until - now, false end
  return 0, true
end

local function start_probe(account, nonce, until_ms)
  redis.call('HSET', ACCOUNT .. account.name, 'probe', nonce, 'probe_until', until_ms)
end

local function end_probe(account, nonce)
  if account.probe == nonce then redis.call('HDEL', ACCOUNT .. account.name, 'probe', 'probe_until') end
end

-- `asked` is how long SendGrid asked to wait, or nil.
local function pause_account(account, kind, reason, asked)
  local interval = FIRST_PAUSE
  if account.kind then
    interval = math.min(LONGEST_PAUSE, math.max(FIRST_PAUSE, account.interval * (asked and 1 or 2)))
  end
  if kind == 'limited' and account.kind then kind, reason = account.kind, account.reason end -- a probe is still due
  local until_ms = math.max(account.until_ms, now + (asked or interval))
  redis.call('HSET', ACCOUNT .. account.name, 'kind', kind, 'until', until_ms, 'interval', interval, 'reason', reason)
  if not account.kind then count('pauses') end
  return reason
end

local function resume(account)
  redis.call('DEL', ACCOUNT .. account.name)
  account.kind, account.until_ms = nil, 0
end

local function is_paused(account)
  return account.kind and (account.kind ~= 'limited' or now < account.until_ms)
end

-- What the outcomes of one settle say of the account; `said` has counts of kinds and the last reason of each.
-- Returns why the account is paused from now on, where they say so.
local function judge_account(account, said, window)
  local paused
  local function pause(...)
    paused = pause_account(account, ...)
  end
  local is_probe = window and window.probe
  if said.limits > 0 then
    -- At a limit most of a window comes back with a 429; a few among many that go well have another reason than the pace.
    if said.limits >= IN_A_ROW and said.limits > said.wells then
      slow_down(account.name, math.max(account.until_ms, now + (said.limited_wait or FIRST_PAUSE)))
    end
    -- All that were on their way come back with a 429; without a time, they are one reason to wait, not many.
    if said.limited_wait or is_probe or not is_paused(account) then
      pause('limited', 'http_429', said.limited_wait)
    end
  elseif said.refused then
    if is_probe or not is_paused(account) then pause('refused', said.refused) end
  elseif said.wells > 0 then
    if is_probe or not is_paused(account) then resume(account) end
  elseif said.failures > 0 then
    local failures = redis.call('HINCRBY', ACCOUNT .. account.name, 'failures', said.failures)
    if is_probe or (failures >= IN_A_ROW and not is_paused(account)) then
      pause('outage', said.failure)
    end
  elseif said.doubt and is_probe and account.kind then
    pause(account.kind, said.doubt)
  end
  if said.used_up and not is_paused(account) then pause('limited', 'rate_limit', said.used_up) end
  if is_probe and said.wells == 0 then end_probe(account, window.nonce) end
  return paused
end
