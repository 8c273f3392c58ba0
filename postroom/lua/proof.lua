-- Proof that SendGrid has accepted a mail. It settles the mail from every state but accepted.

-- A second copy shows by a receipt of its own. It may be told of many times, and counts once.
local function count_copy(chunk, row, receipt)
  local known = record_of(chunk, row).receipt
  if known == NO_RECEIPT then known = note_of(chunk, row).receipt or '' end
  if receipt == '' or known == '' or receipt == known or receipt == note_of(chunk, row).copy then return end
  change_note(chunk, row).copy = receipt
  count_in_batch(chunk, 'extra_copies')
end

-- `mine`: the proof is the reply to an attempt that is not counted yet.
local function prove(chunk, row, receipt, mine)
  local state = state_of(chunk, row)
  if state == ACCEPTED then return count_copy(chunk, row, receipt) end
  if state == IN_DOUBT then redis.call('ZREM', DOUBTS, mail_id(chunk, row)) end
  if mine then use_attempt(chunk, row) end
  accept(chunk, row, receipt)
end
