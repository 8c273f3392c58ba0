-- What every step of the ledger shares: arguments, time, keys and wake-ups. (Whatever stands here is made anew in each
-- step, so what not every step needs has a file of its own.)
--
-- A step gets ARGV[1], the rules (durations in milliseconds, limits), and ARGV[2], its own arguments, both msgpack.
-- A mail is a row of a chunk. A single is a chunk of one, so there is one kind of record. Its id is `chunk.row` for a
-- row of a batch (whose chunk is `batch.first_row`), and the chunk's own id for a single. The mails of a merged chunk
-- go in one request: what is claimed of it at once, and what became of that, is the same for all of them.

local rules = cmsgpack.unpack(ARGV[1])
local args = cmsgpack.unpack(ARGV[2])

-- The only clock is Redis' own; `shift` lets a test move it.
local function read_clock()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000) + rules.shift
end
local now = read_clock()

local CHUNK, PAYLOAD = 'postroom:chunk:', 'postroom:payload:'
local RECORDS, NOTES, DELIVERIES = 'postroom:records:', 'postroom:notes:', 'postroom:deliveries:'
local BATCH, KEY, LANE, ACCOUNT = 'postroom:batch:', 'postroom:key:', 'postroom:lane:', 'postroom:account:'
local WINDOWS, OVERDUE, OWNERS = 'postroom:windows', 'postroom:overdue', 'postroom:owners'
local DUE, DOUBTS, DEADLINES = 'postroom:due', 'postroom:doubts', 'postroom:deadlines'
local ANNOUNCE, ANNOUNCED = 'postroom:announce', 'postroom:announced:'
local UNREPORTED, THEN, UNSEALED, TRIM = 'postroom:unreported', 'postroom:then', 'postroom:unsealed', 'postroom:trim'
local STATS, DEAD_LETTERS = 'postroom:stats', 'postroom:dead'
local STEP, STOPPED, GARBAGE = 'postroom:step', 'postroom:stopped', 'postroom:garbage'

local PAGE = 500 -- wake-ups pushed in one step; Lua's unpack fails at 8,000 arguments

local function batch_of(chunk_id) return chunk_id:match('^([^.]+)%.') end
local function chunks_of(batch_id) return BATCH .. batch_id .. ':chunks' end
local function singles_of(lane) return LANE .. lane .. ':singles' end
local function alone_of(lane) return LANE .. lane .. ':alone' end

local function mail_id(chunk, row)
  return chunk.batch and (chunk.id .. '.' .. row) or chunk.id
end

-- "batch.first.row" is a row of a chunk, anything else a chunk (and so a single too).
local function locate(id)
  local chunk_id, row = id:match('^([^.]+%.%d+)%.(%d+)$')
  if chunk_id then return chunk_id, tonumber(row) end
  return id, nil
end

local function count(what, by) redis.call('HINCRBY', STATS, what, by or 1) end

-- The step counter goes up with every claim and sweep, and each worker remembers how far it has seen it. A ledger that
-- is behind has forgotten what it once acknowledged (restored from a copy, emptied, failed over with a loss): going on
-- would send mails again. So the whole fleet stops, until `recover`. Returns whether it has.
local function is_stopped(seen)
  if redis.call('EXISTS', STOPPED) == 1 then return true end
  local step = tonumber(redis.call('GET', STEP) or 0)
  if step >= (seen or 0) then return false end
  redis.call('HSET', STOPPED, 'why', 'behind', 'step', string.format('%.0f', step), 'seen', string.format('%.0f', seen),
    'at', now)
  return true
end

-- A wake-up is Celery's own message with places left open: the id, the time it is announced, and a chunk's first row.
local function wake_up(template, id)
  local first_row = id:match('%.(%d+)$')
  if first_row then template = template:gsub('"@ROW@"', first_row) end
  return (template:gsub('@(%u+)@', { ID = id, AT = string.format('%.0f', now) }))
end
