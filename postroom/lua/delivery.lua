-- Deliveries: what SendGrid's events have told of each recipient of a mail. Events come in any order and any number of
-- times, so what is kept is the greatest of all that was told, by an order that does not depend on when it came.
--
-- A mail has a msgpack map of recipient (a hash of mail and address) to {rank, at, more}. `at` is when SendGrid says that
-- it was, in seconds; 0 where it only follows from something else. `more`, if there is any: `reason`; `spam`,
-- `unsubscribed`, `resubscribed`: when that was told last.

local RANK = { 'processed', 'deferred', 'delivered', 'dropped', 'blocked', 'bounced' }
local DEFERRED, DELIVERED = 2, 3

local told_of = {} -- by chunk and row; read once and written once in a step

local function deliveries_of(chunk, row)
  local rows = told_of[chunk] or {}
  told_of[chunk] = rows
  if not rows[row] then
    local stored = redis.call('HGET', DELIVERIES .. chunk.id, row)
    rows[row] = { by_recipient = stored and cmsgpack.unpack(stored) or {} }
  end
  return rows[row]
end

local function tally(chunk, name, change)
  chunk.delivered = chunk.delivered or {}
  chunk.delivered[name] = (chunk.delivered[name] or 0) + change
end

-- What ends a delivery stands above what is on the way; of two ends the later one counts, at one time the worse one.
local function is_newer(rank, at, reason, known)
  local step, known_step = math.min(rank, DELIVERED), math.min(known[1], DELIVERED)
  if step ~= known_step then return step > known_step end
  if at ~= known[2] then return at > known[2] end
  if rank ~= known[1] then return rank > known[1] end
  return reason > (known[3] and known[3].reason or '')
end

local function is_unsubscribed(more)
  return more and more.unsubscribed and more.unsubscribed >= (more.resubscribed or 0) or false
end

-- Each mark keeps the last time that it was told.
local function mark(chunk, known, name, at)
  local more = known[3] or {}
  if at <= (more[name] or 0) then return false end
  local was_spam, was_unsubscribed = more.spam, is_unsubscribed(more)
  more[name], known[3] = at, more
  if more.spam and not was_spam then tally(chunk, 'spam_reports', 1) end
  if is_unsubscribed(more) ~= was_unsubscribed then tally(chunk, 'unsubscribed', was_unsubscribed and -1 or 1) end
  return true
end

local function outrank(chunk, known, rank, at, reason)
  if known[1] > 0 and not is_newer(rank, at, reason, known) then return false end
  if known[1] ~= rank then
    if known[1] > 0 then tally(chunk, RANK[known[1]], -1) end
    tally(chunk, RANK[rank], 1)
  end
  known[1], known[2] = rank, at
  if reason ~= '' then
    known[3] = known[3] or {}
    known[3].reason = reason
  elseif known[3] then
    known[3].reason = nil
    if next(known[3]) == nil then known[3] = nil end
  end
  return true
end

-- `name` is the mark that the event makes, or empty.
local function tell(chunk, row, recipient, rank, at, reason, name, marked_at)
  local deliveries = deliveries_of(chunk, row)
  local known = deliveries.by_recipient[recipient] or { 0, 0 }
  deliveries.by_recipient[recipient] = known
  if outrank(chunk, known, rank, at, reason) then deliveries.changed = true end
  if name ~= '' and mark(chunk, known, name, marked_at) then deliveries.changed = true end
end

local function write_chunk(chunk, rows)
  local fields = {}
  for row, deliveries in pairs(rows) do
    if deliveries.changed then
      fields[#fields + 1], fields[#fields + 2] = row, cmsgpack.pack(deliveries.by_recipient)
    end
  end
  if #fields == 0 then return end
  redis.call('HSET', DELIVERIES .. chunk.id, unpack(fields))
  local ends = redis.call('PEXPIRETIME', CHUNK .. chunk.id)
  if ends > 0 then redis.call('PEXPIREAT', DELIVERIES .. chunk.id, ends) end
end

local function count_for_batch(chunk)
  local key = chunk.batch and BATCH .. chunk.batch
  if not key or not chunk.delivered or redis.call('EXISTS', key) == 0 then return end
  for name, change in pairs(chunk.delivered) do
    if change ~= 0 then redis.call('HINCRBY', key, name, change) end
  end
end

local function write_deliveries()
  for chunk, rows in pairs(told_of) do
    write_chunk(chunk, rows)
    count_for_batch(chunk)
  end
end
