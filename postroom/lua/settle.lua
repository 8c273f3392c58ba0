-- Settle: what became of the mails of a window. Each mail is counted once, however often a settle is repeated.
--
-- args.groups: {chunk, {{rows, kind, reason, receipt, errors, delay}, …}}; `rows` are of one request. `errors` is JSON
-- text, `delay` the milliseconds until a retry. Returns a msgpack map: `trims`, chunks whose payload is to be trimmed;
-- `stale`, how many outcomes came too late to count; `paused`, why the account is paused after this, or nothing.

-- Redis keeps what a script has written before it fails, so what is malformed must fail before.
assert(type(args.nonce) == 'string' and type(args.account) == 'string', 'a settle names its window and its account')
for _, group in ipairs(args.groups) do
  for _, mail in ipairs(group[2]) do
    assert(type(mail[1]) == 'table' and type(mail[2]) == 'string' and type(mail[6]) == 'number', 'a malformed outcome')
  end
end

local window = read_window(args.nonce)
local said = { failures = 0, wells = 0, limits = 0 }
local stale = 0

-- An accepted mail may say, too, that it was the last one for so long (`X-RateLimit-Remaining: 0`).
local function hear(kind, reason, wait)
  if kind == 'accepted' and wait > 0 then said.used_up = math.max(said.used_up or 0, wait) end
  if kind == 'accepted' or kind == 'rejected' or kind == 'retry' then said.wells = said.wells + 1 end
  if kind == 'unsent' or kind == 'unavailable' then
    said.failures, said.failure = said.failures + 1, reason
  elseif kind == 'doubt' then
    said.doubt = reason
  elseif kind == 'refused' then
    said.refused = reason
  elseif kind == 'limited' then
    said.limits = said.limits + 1
    if wait and wait > 0 then said.limited_wait = math.max(said.limited_wait or 0, wait) end
  end
end

local function retry(chunk, row, reason, delay, uses_attempt)
  if uses_attempt then use_attempt(chunk, row) end
  if attempts_left(chunk, row) <= 0 then return fail(chunk, row, EXHAUSTED, reason) end
  change_note(chunk, row).reason = reason
  wait_until(chunk, row, now + delay)
end

local function apply(chunk, row, kind, reason, receipt, errors, delay)
  if kind == 'rejected' then
    use_attempt(chunk, row)
    return fail(chunk, row, REJECTED, reason, errors)
  end
  if kind == 'doubt' then return doubt(chunk, row, reason, args.nonce) end
  if kind == 'retry' then return retry(chunk, row, reason, delay, true) end
  -- A probe's 503 uses no attempt, so that an outage burns none.
  if kind == 'unavailable' then return retry(chunk, row, reason, delay, not (window and window.probe)) end
  if kind == 'unsent' then return retry(chunk, row, reason, delay, false) end
  return requeue(chunk, row, true) -- limited, refused, released
end

-- The window was taken for lost, and its mail is in doubt; now its own outcome comes after all.
local function heal(chunk, row, kind, reason, ...)
  local note = change_note(chunk, row)
  if note.reason == 'worker_died' then note.died = note.died - 1 end
  if kind == 'doubt' then
    note.reason = reason
    return
  end
  note.doubts = note.doubts - 1
  local record = record_of(chunk, row)
  record.attempts = record.attempts - 1
  redis.call('ZREM', DOUBTS, mail_id(chunk, row))
  apply(chunk, row, kind, reason, ...)
end

local held = {} -- the window's rows, by chunk, that are not settled yet
for _, group in ipairs(window and window.groups or {}) do
  held[group[1]] = held[group[1]] or {}
  for _, row in ipairs(group[2]) do held[group[1]][row] = true end
end

-- Whether the mail is of this window; it is taken out of it.
local function leaves_window(chunk_id, row)
  local rows = held[chunk_id]
  if not (rows and rows[row]) then return false end
  rows[row] = nil
  return true
end

local function settle(chunk, row, kind, reason, receipt, errors, delay)
  local mine = leaves_window(chunk.id, row)
  local state = state_of(chunk, row)
  if not state then
    stale = stale + 1
  elseif kind == 'accepted' then
    prove(chunk, row, receipt, mine)
  elseif mine and state == SENDING then
    apply(chunk, row, kind, reason, receipt, errors, delay)
  elseif state == IN_DOUBT and note_of(chunk, row).nonce == args.nonce then
    heal(chunk, row, kind, reason, receipt, errors, delay)
  else
    stale = stale + 1
  end
end

local function shrink_window()
  if not window then return end
  local left = {}
  for _, group in ipairs(window.groups) do
    local rows = {}
    for _, row in ipairs(group[2]) do
      if held[group[1]][row] then rows[#rows + 1] = row end
    end
    if #rows > 0 then
      left[#left + 1] = { group[1], rows }
    else
      local chunk = open(group[1])
      if chunk then
        chunk.live = math.max(0, chunk.live - 1)
        chunk.dirty = true
      end
    end
  end
  if #left == 0 then return close_window(args.nonce) end
  window.groups = left
  write_window(args.nonce, window)
end

for _, group in ipairs(args.groups) do
  local chunk = open(group[1])
  if chunk then
    for _, mail in ipairs(group[2]) do
      hear(mail[2], mail[3], mail[6])
      for _, row in ipairs(mail[1]) do settle(chunk, row, unpack(mail, 2, 6)) end
    end
  end
end
local account = read_account(args.account)
local paused = judge_account(account, said, window)
shrink_window()
close_all()
return cmsgpack.pack({ trims = trims, stale = stale, paused = paused })
