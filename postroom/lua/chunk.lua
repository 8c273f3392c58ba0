-- Chunks, and the mails in them: read once and written once in a step.

local open_chunks = {}

local function open(id)
  local chunk = open_chunks[id]
  if chunk then return chunk end
  local stored = redis.call('HMGET', CHUNK .. id, 'states', 'lane', 'policy', 'expires', 'live', 'created', 'send_at',
    'key', 'interval', 'announced', 'recipients', 'merged')
  if not stored[1] then return nil end
  chunk = {
    id = id, batch = batch_of(id), rows = { stored[1]:byte(1, -1) },
    lane = stored[2], policy = stored[3], expires = tonumber(stored[4]), live = tonumber(stored[5] or 0),
    created = tonumber(stored[6]), send_at = tonumber(stored[7] or 0), key = stored[8], interval = stored[9],
    announced = stored[10], recipients = stored[11], merged = stored[12],
    tally = {}, records = {}, notes = {}, changed_notes = {}, unfinished = 0,
  }
  for _, state in ipairs(chunk.rows) do
    if not FINISHED[state] then chunk.unfinished = chunk.unfinished + 1 end
  end
  chunk.was_finished = chunk.unfinished == 0
  open_chunks[id] = chunk
  return chunk
end

local function state_of(chunk, row) return chunk.rows[row + 1] end

-- A note is kept of a mail that something out of the ordinary has happened to.
local function note_of(chunk, row)
  local note = chunk.notes[row]
  if note == nil then
    local stored = redis.call('HGET', NOTES .. chunk.id, row)
    note = stored and cmsgpack.unpack(stored) or { doubts = 0, died = 0 }
    chunk.notes[row] = note
  end
  return note
end

local function change_note(chunk, row)
  chunk.changed_notes[row] = true
  chunk.dirty = true
  return note_of(chunk, row)
end

local function record_of(chunk, row)
  local record = chunk.records[row]
  if record == nil then
    chunk.stored_records = chunk.stored_records or redis.call('GET', RECORDS .. chunk.id) or ''
    local stored = chunk.stored_records:sub(row * RECORD + 1, row * RECORD + RECORD)
    if #stored == RECORD then
      record = { attempts = stored:byte(1), receipt = stored:sub(6) }
    else
      record = { attempts = 0, receipt = NO_RECEIPT }
    end
    chunk.records[row] = record
  end
  return record
end

local function is_reported(chunk)
  if chunk.reported == nil then
    chunk.reported = redis.call('HEXISTS', BATCH .. chunk.batch, 'reported_at') == 1
  end
  return chunk.reported
end

local function move(chunk, row, to)
  local from = state_of(chunk, row)
  if from == to then return end
  if FINISHED[from] and chunk.batch and is_reported(chunk) then
    -- The report is a snapshot: what it says of this mail is kept beside the later truth.
    local note = change_note(chunk, row)
    note.was = note.was or { state = NAME[from], reason = note.reason, errors = note.errors }
  end
  chunk.rows[row + 1] = to
  chunk.tally[NAME[from]] = (chunk.tally[NAME[from]] or 0) - 1
  chunk.tally[NAME[to]] = (chunk.tally[NAME[to]] or 0) + 1
  if FINISHED[to] and not FINISHED[from] then chunk.unfinished = chunk.unfinished - 1 end
  if FINISHED[from] and not FINISHED[to] then chunk.unfinished = chunk.unfinished + 1 end
  record_of(chunk, row).changed = true
  chunk.dirty, chunk.moved = true, true
  if DEAD[to] then chunk.failed = true end
end

local function use_attempt(chunk, row)
  local record = record_of(chunk, row)
  record.attempts = math.min(255, record.attempts + 1)
  record.changed = true
  return record.attempts
end

-- A mail that was retried by hand has all its attempts again.
local function attempts_left(chunk, row)
  return rules.attempts - record_of(chunk, row).attempts + (note_of(chunk, row).base or 0)
end

-- Counted for the ledger, and for the batch.
local function count_in_batch(chunk, what)
  count(what)
  chunk.tally[what] = (chunk.tally[what] or 0) + 1
end

-- Back to the queue: a single goes to the end of its lane (or to its head, if it had a place there already).
local function requeue(chunk, row, at_head)
  local alone = note_of(chunk, row).died > 0
  move(chunk, row, alone and ALONE or QUEUED)
  if not chunk.batch then
    local push = at_head and 'LPUSH' or 'RPUSH'
    redis.call(push, alone and alone_of(chunk.lane) or singles_of(chunk.lane), chunk.id)
  end
end

local function wait_until(chunk, row, due)
  move(chunk, row, WAITING)
  redis.call('ZADD', DUE, math.min(due, chunk.expires), mail_id(chunk, row))
end

-- Finished without being accepted. After a doubt nobody can say "it was not sent": then it is unresolved.
local function fail(chunk, row, state, reason, errors)
  local known = note_of(chunk, row)
  if NAME[state] == reason and not known.reason and known.doubts == 0 then return move(chunk, row, state) end -- the state says it all
  local note = change_note(chunk, row)
  note.reason, note.errors = reason, errors
  move(chunk, row, note.doubts > 0 and UNRESOLVED or state)
end

local function doubt(chunk, row, reason, nonce)
  local note = change_note(chunk, row)
  note.doubts = note.doubts + 1
  note.reason, note.nonce = reason, nonce
  use_attempt(chunk, row)
  move(chunk, row, IN_DOUBT)
  redis.call('ZADD', DOUBTS, now + rules.grace, mail_id(chunk, row))
  count('doubts')
end

local function accept(chunk, row, receipt)
  local record = record_of(chunk, row)
  if #receipt == RECEIPT then
    record.receipt = receipt
  elseif receipt ~= '' then
    change_note(chunk, row).receipt = receipt
  end
  move(chunk, row, ACCEPTED)
end

-- Expiry is judged where a mail would otherwise be sent, and by the sweep.
local function expire_queued(chunk)
  for row = 0, #chunk.rows - 1 do
    if is_queued(state_of(chunk, row)) then fail(chunk, row, EXPIRED, 'expired') end
  end
end

-- Windows: the mails that one task has claimed. The nonce is `owner/number`. ----------------------------------------

local function read_window(nonce)
  local stored = redis.call('HGET', WINDOWS, nonce)
  return stored and cmsgpack.unpack(stored)
end

local function write_window(nonce, window) redis.call('HSET', WINDOWS, nonce, cmsgpack.pack(window)) end

local function close_window(nonce)
  redis.call('HDEL', WINDOWS, nonce)
  redis.call('ZREM', OVERDUE, nonce)
end

-- Writing back. ------------------------------------------------------------------------------------------------------

local trims = {} -- chunks whose payload still holds accepted mails, for the caller to trim

local function write_records(chunk)
  local rows = {}
  for row, record in pairs(chunk.records) do
    if record.changed then rows[#rows + 1] = row end
  end
  table.sort(rows)
  local seconds = struct.pack('>I4', math.floor(now / 1000))
  local first, parts = nil, {}
  for index, row in ipairs(rows) do
    first = first or row
    local record = chunk.records[row]
    parts[#parts + 1] = string.char(record.attempts) .. seconds .. record.receipt
    if #parts == #chunk.rows then
      redis.call('SET', RECORDS .. chunk.id, table.concat(parts), 'KEEPTTL') -- leaves no room to grow
    elseif rows[index + 1] ~= row + 1 then
      redis.call('SETRANGE', RECORDS .. chunk.id, first * RECORD, table.concat(parts))
      first, parts = nil, {}
    end
  end
end

local function write_notes(chunk)
  for row in pairs(chunk.changed_notes) do
    redis.call('HSET', NOTES .. chunk.id, row, cmsgpack.pack(chunk.notes[row]))
  end
  local ends = chunk.was_finished and redis.call('PEXPIRETIME', CHUNK .. chunk.id) or 0
  if ends > 0 then redis.call('PEXPIREAT', NOTES .. chunk.id, ends) end -- a first note ends with its chunk, too
end

local function has_claimable(chunk)
  for _, state in ipairs(chunk.rows) do
    if is_claimable(state) then return true end
  end
  return false
end

-- At most one wake-up of a chunk waits in its lane: `announced` says that there is one, until a task claims.
local function announce(chunk)
  local template = redis.call('HGET', BATCH .. chunk.batch, 'wake_up')
  if not template then return end -- its rows are kept a little longer than the batch
  chunk.announced = '1'
  redis.call('HSET', CHUNK .. chunk.id, 'announced', 1)
  redis.call('LPUSH', chunk.lane, wake_up(template, chunk.id))
end

local function announce_if_claimable(chunk)
  if chunk.send_at > now then return end
  local index = ANNOUNCED .. chunk.lane
  if not has_claimable(chunk) then
    redis.call('ZREM', index, chunk.id)
  elseif chunk.wake and not chunk.announced then
    announce(chunk)
    redis.call('ZADD', index, now, chunk.id)
  elseif chunk.touched then
    redis.call('ZADD', index, now, chunk.id)
    if chunk.interval then redis.call('HDEL', CHUNK .. chunk.id, 'interval') end
  else
    local is_new = redis.call('ZADD', index, 'NX', now, chunk.id) == 1
    -- Whoever is sending from it takes what has come due, too; another wake-up each time would be one too many.
    if chunk.due and is_new and chunk.live == 0 and not chunk.announced then announce(chunk) end
  end
end

local function outlive(chunk, at)
  for _, key in ipairs({ CHUNK, RECORDS, NOTES, DELIVERIES }) do redis.call('PEXPIREAT', key .. chunk.id, at) end
  if chunk.key then redis.call('PEXPIREAT', KEY .. chunk.key, at) end
end

-- Whose content is kept for a retry by hand, a letter a mail: 'k', or '-' for what nobody will send again.
local function kept(chunk)
  local letters = {}
  for row, state in ipairs(chunk.rows) do
    letters[row] = DEAD[state] and not note_of(chunk, row - 1).purged and 'k' or '-'
  end
  return table.concat(letters)
end

local function release_payload(chunk)
  if not kept(chunk):find('k') then
    redis.call('DEL', PAYLOAD .. chunk.id)
    if chunk.batch then redis.call('SREM', TRIM, chunk.id) end
    return
  end
  redis.call('PEXPIRE', PAYLOAD .. chunk.id, rules.keep_failed)
  if chunk.batch then
    redis.call('SADD', TRIM, chunk.id)
    trims[#trims + 1] = chunk.id
  end
end

local function pack_tight(chunk)
  local records = redis.call('GET', RECORDS .. chunk.id)
  if records then redis.call('SET', RECORDS .. chunk.id, records) end -- SETRANGE has left room to grow
end

local function finish_batch(id)
  local key = BATCH .. id
  local stored = redis.call('HMGET', key, 'sealed', 'total', 'final_at', 'expires', 'key', unpack(FINISHED_NAMES))
  if not stored[1] or stored[3] then return end
  local finished = 0
  for index = 6, 11 do finished = finished + tonumber(stored[index] or 0) end
  if finished < tonumber(stored[2]) then return end
  redis.call('HSET', key, 'final_at', now)
  redis.call('ZADD', UNREPORTED, now, id)
  redis.call('ZREM', ANNOUNCE, id) -- cancelled before its time
  local at = math.max(now, tonumber(stored[4])) + rules.keep
  redis.call('PEXPIREAT', key, at)
  redis.call('PEXPIREAT', chunks_of(id), at)
  if stored[5] then redis.call('PEXPIREAT', KEY .. stored[5], at) end
end

local function finish_chunk(chunk)
  redis.call('ZREM', DEADLINES, chunk.id)
  if chunk.batch then pack_tight(chunk) end
  -- A chunk's rows are read by its batch's report, so they outlive it.
  outlive(chunk, (chunk.batch and math.max(now, chunk.expires) + 3600000 or now) + rules.keep)
  -- The chord counts a chunk when its task returns: a chunk finished by anyone else is announced once more.
  if chunk.batch and not (args.in_task or chunk.announced) then announce(chunk) end
end

local function tally_batch(chunk)
  local key = BATCH .. chunk.batch
  if chunk.was_finished and redis.call('EXISTS', key) == 0 then return end -- its rows are kept a little longer
  local has_changed = false
  for name, change in pairs(chunk.tally) do
    if change ~= 0 then
      redis.call('HINCRBY', key, name, change)
      has_changed = true
    end
  end
  if has_changed and chunk.was_finished and is_reported(chunk) then
    redis.call('HSETNX', key, 'changed_since', now)
  end
end

local function close(chunk)
  if not (chunk.dirty or chunk.touched or chunk.wake) then return end
  if chunk.dirty then
    redis.call('HSET', CHUNK .. chunk.id, 'states', string.char(unpack(chunk.rows)), 'live', chunk.live)
    write_records(chunk)
    write_notes(chunk)
    if chunk.batch then tally_batch(chunk) end
  end
  if chunk.failed then redis.call('ZADD', DEAD_LETTERS, now, chunk.id) end
  local is_finished = chunk.unfinished == 0
  if chunk.batch then announce_if_claimable(chunk) end
  if is_finished and chunk.moved then
    if not chunk.was_finished then finish_chunk(chunk) end
    release_payload(chunk)
    if chunk.batch and not chunk.was_finished then finish_batch(chunk.batch) end
  end
end

local function close_all()
  for _, chunk in pairs(open_chunks) do close(chunk) end
end
