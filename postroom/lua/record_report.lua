-- Record a report, for the chord's body. Returns whether it was recorded by this call.

return record_report(args.batch, args.by) and 1 or 0
