-- Recover: this Redis was restored from a copy, or has lost what it had acknowledged. What is not finished here may have
-- been sent since, so it is in doubt. A page of chunks a call; until the last one the whole fleet is stopped.
--
-- args.cursor: where to go on, "0" to begin. Returns {cursor, chunks seen, mails put in doubt, unsealed chunks}; a cursor
-- of "0" says that it is done.

local PAGE_OF_KEYS = 20
local REASON = 'restored'

-- Nothing can have become of a mail whose time has not come.
local function may_be_sent(chunk, row)
  local state = state_of(chunk, row)
  if FINISHED[state] or chunk.send_at > now then return false end
  if state == IN_DOUBT then return note_of(chunk, row).reason ~= REASON end
  if state ~= WAITING then return true end
  return tonumber(redis.call('ZSCORE', DUE, mail_id(chunk, row)) or 0) <= now
end

local function begin()
  redis.call('HSET', STOPPED, 'why', 'recovering', 'at', now)
  redis.call('DEL', WINDOWS, OVERDUE, OWNERS)
end

-- Higher than any step that a worker can have seen: it counts on from the time in microseconds.
local function finish()
  redis.call('SET', STEP, string.format('%.0f', now * 1000))
  redis.call('DEL', STOPPED)
end

local function is_unsealed(chunk)
  return chunk.batch and chunk.unfinished > 0 and redis.call('HEXISTS', BATCH .. chunk.batch, 'sealed') == 0
end

if args.cursor == '0' then begin() end
local page = redis.call('SCAN', args.cursor, 'MATCH', CHUNK .. '*', 'COUNT', PAGE_OF_KEYS)
local mails, unsealed = 0, 0
for _, key in ipairs(page[2]) do
  local chunk = open(key:sub(#CHUNK + 1))
  if chunk and is_unsealed(chunk) then
    unsealed = unsealed + 1
  elseif chunk then
    for row = 0, #chunk.rows - 1 do
      if may_be_sent(chunk, row) then
        doubt(chunk, row, REASON)
        mails = mails + 1
      end
    end
    if chunk.live > 0 then chunk.live, chunk.dirty = 0, true end
  end
end
close_all()
if page[1] == '0' then finish() end
return { page[1], #page[2], mails, unsealed }
