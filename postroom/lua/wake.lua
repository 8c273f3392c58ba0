-- Announce a chunk again: its task gives it back before it has seen it finished. Or a lane, for a drain.

if args.chunk then
  local chunk = open(args.chunk)
  if chunk and args.first then chunk.announced = nil end -- the wake-up that the task came with is used up
  if chunk and chunk.batch and chunk.unfinished == 0 then
    if not chunk.announced then announce(chunk) end -- the chord counts it when a task returns
    return 1
  end
  if chunk and has_claimable(chunk) then
    chunk.wake = true
    close(chunk)
    return 1
  end
  return 0
end
if redis.call('LLEN', singles_of(args.lane)) + redis.call('LLEN', alone_of(args.lane)) == 0 then return 0 end
wake_lane(args.lane, args.drain, args.id)
return 1
