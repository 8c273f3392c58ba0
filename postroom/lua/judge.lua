-- Judge a window whose mails will not be settled in time: its owner is dead, or its time is over. They are in doubt.

local function judge_mail(chunk, row, nonce, reason)
  if state_of(chunk, row) ~= SENDING then return end
  doubt(chunk, row, reason, nonce)
  if reason == 'worker_died' then
    local note = change_note(chunk, row)
    note.died = note.died + 1
  end
end

local LEAST_WORK = 100 -- a window is as much work as so many mails, at least

-- Returns how much work it was, in mails.
local function judge_window(nonce, reason)
  local window = read_window(nonce)
  close_window(nonce)
  local mails = 0
  for _, group in ipairs(window and window.groups or {}) do
    mails = mails + #group[2]
    local chunk = open(group[1])
    if chunk then
      for _, row in ipairs(group[2]) do judge_mail(chunk, row, nonce, reason) end
      chunk.live = math.max(0, chunk.live - 1)
      chunk.dirty = true
      chunk.wake = chunk.batch ~= nil
    end
  end
  return math.max(LEAST_WORK, mails)
end

local function owner_of(nonce) return nonce:match('^(.*)/') end

-- Returns how much work its windows were; from `limit` on, the rest is left for another time.
local function judge_owner(owner, limit)
  local judged = 0
  for _, nonce in ipairs(redis.call('ZRANGE', OVERDUE, 0, -1)) do
    if owner_of(nonce) == owner then
      if judged >= limit then return judged end
      judged = judged + judge_window(nonce, 'worker_died')
    end
  end
  redis.call('ZREM', OWNERS, owner)
  return judged
end
