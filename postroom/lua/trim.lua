-- Put a finished chunk's trimmed payload in place of the whole one. ARGV[3] is the new payload, empty for none.
-- `states` is what the caller saw; if they have changed since, it is not done (returns 0) and the caller looks again.

local chunk = open(args.chunk)
if not chunk then
  redis.call('DEL', PAYLOAD .. args.chunk)
  redis.call('SREM', TRIM, args.chunk)
  return 1
end
if string.char(unpack(chunk.rows)) ~= args.states or chunk.unfinished > 0 then return 0 end
if ARGV[3] == '' then
  redis.call('DEL', PAYLOAD .. chunk.id)
else
  redis.call('SET', PAYLOAD .. chunk.id, ARGV[3], 'PX', rules.keep_failed)
end
redis.call('SREM', TRIM, chunk.id)
return 1
