-- Put a finished chunk's trimmed payload in place of the whole one. ARGV[3] is the new payload, empty for none.
-- `kept` is what the caller saw (see `kept`); if it has changed since, nothing is done and the caller looks again.
-- Returns 1 when there is nothing left to do.

local chunk = open(args.chunk)
if not chunk then
  redis.call('DEL', PAYLOAD .. args.chunk)
elseif chunk.unfinished == 0 then
  if kept(chunk) ~= args.kept then return 0 end
  if ARGV[3] == '' then
    redis.call('DEL', PAYLOAD .. chunk.id)
  else
    redis.call('SET', PAYLOAD .. chunk.id, ARGV[3], 'PX', rules.keep_failed)
  end
end
redis.call('SREM', TRIM, args.chunk) -- an unfinished one is trimmed when it is finished
return 1
