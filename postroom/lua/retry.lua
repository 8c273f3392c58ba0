-- Queue a mail again, by hand: a dead letter, or (args.not_accepted: somebody knows that SendGrid has not got it) one
-- that is in doubt. It keeps its id and its history, and has all its attempts again.
--
-- args.expires_in: from now, if its chunk is through; else the chunk's deadline stays. Returns {what, state}: "queued",
-- "unknown", "not_dead", "not_in_doubt", "unresolved" (it may have been accepted; args.may_repeat says to send it all the same),
-- "content_gone", or "busy" (too late for its chunk, which is not through yet).

local MOST_TOLD = 5 -- former ends that a mail's history has

local chunk_id, row = locate(args.id)
row = row or 0
local chunk = open(chunk_id)

local function refusal(state)
  if args.not_accepted then
    if state ~= IN_DOUBT and state ~= UNRESOLVED then return 'not_in_doubt' end
  elseif not DEAD[state] then
    return 'not_dead'
  elseif state == UNRESOLVED and not args.may_repeat then
    return 'unresolved'
  end
  local note = note_of(chunk, row)
  if note.purged or note.reason == 'content_gone' or redis.call('EXISTS', PAYLOAD .. chunk.id) == 0 then
    return 'content_gone'
  end
  if now >= chunk.expires and chunk.unfinished > (state == IN_DOUBT and 1 or 0) then return 'busy' end
end

-- What its state was, and why, stays on record.
local function remember(note, state)
  note.past = note.past or {}
  table.insert(note.past, { state = NAME[state], reason = note.reason, at = now })
  if #note.past > MOST_TOLD then table.remove(note.past, 1) end
  note.reason, note.errors, note.nonce = nil, nil, nil
end

local function give_attempts()
  local record = record_of(chunk, row)
  if record.attempts > 155 then record.attempts = 0 end -- the counter is one byte, and 100 attempts the most
  change_note(chunk, row).base = record.attempts
end

local function give_time()
  local others = chunk.unfinished - (FINISHED[state_of(chunk, row)] and 0 or 1)
  if others == 0 and now + args.expires_in > chunk.expires then
    chunk.expires = now + args.expires_in
    redis.call('HSET', CHUNK .. chunk.id, 'expires', chunk.expires)
  end
end

-- What a finished chunk or batch has lost, its place among what lives, it gets back.
local function revive()
  for _, key in ipairs({ CHUNK, RECORDS, NOTES, DELIVERIES, PAYLOAD }) do redis.call('PERSIST', key .. chunk.id) end
  if chunk.key then redis.call('PERSIST', KEY .. chunk.key) end
  redis.call('SREM', TRIM, chunk.id)
  redis.call('ZADD', DEADLINES, chunk.expires, chunk.id)
  if not chunk.batch then return end
  local key = redis.call('HGET', BATCH .. chunk.batch, 'key')
  local kept_keys = { BATCH .. chunk.batch, chunks_of(chunk.batch), key and KEY .. key or nil }
  for _, name in ipairs(kept_keys) do redis.call('PEXPIREAT', name, chunk.expires + rules.keep, 'GT') end
end

if not chunk or row >= #chunk.rows then return { 'unknown', '' } end
if chunk.batch and redis.call('EXISTS', BATCH .. chunk.batch) == 0 then return { 'unknown', '' } end
local state = state_of(chunk, row)
local why_not = refusal(state)
if why_not then return { why_not, NAME[state] } end

if chunk.batch then record_report(chunk.batch, 'retry') end -- if it is final, it is reported as it was
give_attempts()
give_time()
redis.call('ZREM', DOUBTS, args.id)
revive()
requeue(chunk, row)
remember(change_note(chunk, row), state)
if args.not_accepted then note_of(chunk, row).doubts = 0 end
chunk.wake = chunk.batch ~= nil
count('retried')
close_all()
if not chunk.batch then wake_lane(chunk.lane, args.drains[chunk.lane], chunk.id) end
return { 'queued', NAME[state] }
