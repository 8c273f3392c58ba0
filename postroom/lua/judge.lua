-- Judge a window whose mails will not be settled in time: its owner is dead, or its time is over. They are in doubt.

local function judge_mail(chunk, row, nonce, reason)
  if state_of(chunk, row) ~= SENDING then return end
  doubt(chunk, row, reason, nonce)
  if reason == 'worker_died' then
    local note = change_note(chunk, row)
    note.died = note.died + 1
  end
end

local function judge_window(nonce, reason)
  local window = read_window(nonce)
  close_window(nonce)
  if not window then return end
  for _, group in ipairs(window.groups) do
    local chunk = open(group[1])
    if chunk then
      for _, row in ipairs(group[2]) do judge_mail(chunk, row, nonce, reason) end
      chunk.live = math.max(0, chunk.live - 1)
      chunk.dirty = true
      chunk.wake = chunk.batch ~= nil
    end
  end
end

local function owner_of(nonce) return nonce:match('^(.*)/') end

local function judge_owner(owner, limit)
  local judged = 0
  for _, nonce in ipairs(redis.call('ZRANGE', OVERDUE, 0, -1)) do
    if owner_of(nonce) == owner then
      if judged == limit then return judged end
      judge_window(nonce, 'worker_died')
      judged = judged + 1
    end
  end
  redis.call('ZREM', OWNERS, owner)
  return judged
end
