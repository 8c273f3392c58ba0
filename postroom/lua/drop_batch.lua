-- Drop a page of an unsealed batch. Returns 1 when all of it is gone.

if redis.call('HEXISTS', BATCH .. args.batch, 'sealed') == 1 then return 1 end
return drop_page(args.batch) and 1 or 0
