-- Events: what SendGrid's Event Webhook tells, a page at a time. Each proves that SendGrid has accepted a mail, and most
-- tell how the delivery to one of its recipients stands. Unknown mails are passed over; to say it all again changes
-- nothing.
--
-- args.groups: {chunk, {{row, receipt, recipient, rank, at, reason, mark, marked at}, …}}; `recipient` is empty where
-- nothing is told of one. Returns how many of the events were about a mail that is known.

local MARKS = { [''] = true, spam = true, unsubscribed = true, resubscribed = true }

local function is_time(value) return type(value) == 'number' and value % 1 == 0 and value >= 0 and value < 2 ^ 32 end

local function is_event(event)
  local row, receipt, recipient, rank, at, reason, name, marked_at = unpack(event, 1, 8)
  return type(row) == 'number' and type(receipt) == 'string' and type(recipient) == 'string'
    and (recipient == '' or RANK[rank]) and is_time(at) and type(reason) == 'string' and MARKS[name] and is_time(marked_at)
end

-- Redis keeps what a script has written before it fails, so what is malformed must fail before.
for _, group in ipairs(args.groups) do
  assert(type(group[1]) == 'string', 'events of no chunk')
  for _, event in ipairs(group[2]) do assert(is_event(event), 'a malformed event') end
end

local known = 0
for _, group in ipairs(args.groups) do
  local chunk = open(group[1])
  for _, event in ipairs(chunk and group[2] or {}) do
    local row = event[1]
    if state_of(chunk, row) then
      known = known + 1
      prove(chunk, row, event[2])
      if event[3] ~= '' then tell(chunk, row, unpack(event, 3, 8)) end
    end
  end
end
close_all()
write_deliveries()
return known
