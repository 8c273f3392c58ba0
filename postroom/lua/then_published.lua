-- The batch's `then` has been published.

return redis.call('ZREM', THEN, args.batch)
