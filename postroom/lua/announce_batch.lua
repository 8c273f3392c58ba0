-- Push one page of a batch's wake-ups, if they are due. Returns how many were pushed.

local due = redis.call('ZSCORE', ANNOUNCE, args.batch)
if not due or tonumber(due) > now then return 0 end
return announce_page(args.batch)
