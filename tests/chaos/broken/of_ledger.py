"""Of the ledger: the guards of its scripts, each taken out."""

from tests.chaos.broken.build import Build, lua

CLAIM = (
    Build(
        "a claim takes what is being sent",
        (lua("claim", "    if state == wanted then\n", "    if state == wanted or state == SENDING then\n"),),
        "doubled",
        expects=("duplicate",),
    ),
    Build(
        "a claim of singles takes whatever stands in the list",
        (lua("claim", "if chunk and is_claimable(state_of(chunk, 0)) then", "if chunk then"),),
        "cancels",
        expects=("falsely cancelled", "content_gone"),
    ),
    Build(
        "a claim said again claims again",
        (lua("claim", "if window then return repeated(window) end", ""),),
        "reclaims",
        expects=("unfinished", "doubted"),
    ),
    Build(
        "a claim does not look at the deadline",
        (
            lua("claim", "if now >= chunk.expires then expire_queued(chunk) end\n", ""),
            lua("claim", "      if now >= chunk.expires then\n", "      if false then\n"),
        ),
        test="tests/test_ledger_expiring.py::test_a_mail_is_sent_until_its_deadline_and_not_at_it",
        equivalent="the sweep expires it a second later, and the promise allows 10 s ('nobody looks at the deadline')",
    ),
    Build(
        "a sweep does not look at the deadline",
        (lua("sweep", "      expire_queued(chunk)\n", ""),),
        test="tests/test_ledger_expiring.py::test_the_caretaker_finishes_what_nobody_claims",
        equivalent="it expires when it would be sent; only its end comes later ('nobody looks at the deadline')",
    ),
    Build(
        "nobody looks at the deadline",
        (
            lua("claim", "if now >= chunk.expires then expire_queued(chunk) end\n", ""),
            lua("claim", "      if now >= chunk.expires then\n", "      if false then\n"),
            lua("sweep", "      expire_queued(chunk)\n", ""),
        ),
        "expiry",
        expects=("late",),
    ),
    Build(
        "a claim takes from a batch that is not sealed",
        (
            lua(
                "claim",
                "  if chunk.batch and redis.call('HEXISTS', BATCH .. chunk.batch, 'sealed') == 0 "
                "then return reply('idle') end\n",
                "",
            ),
        ),
        "forged",
        expects=("unsealed", "counts"),
    ),
    Build(
        "a claim takes from a batch before its time",
        (lua("claim", "  if chunk.send_at > now then return reply('idle') end\n", ""),),
        "forged",
        expects=("early",),
    ),
    Build(
        "a batch is announced again before its time",
        (lua("chunk", "  if chunk.send_at > now then return end\n", ""),),
        test="tests/test_ledger_cancelling.py::test_a_batch_cancelled_in_part_wakes_nobody_before_its_time",
        equivalent="a claim finds nothing before the time ('a claim takes from a batch before its time' is caught)",
    ),
    Build(
        "a claim does not look at the pause",
        (lua("account", "  if not account.kind then return 0, false end\n", "  if true then return 0, false end\n"),),
        "refusals",
        expects=("for no fault of its own",),
    ),
    Build(
        "a claim takes more than a window",
        (lua("claim", "    if taken == most or (spent >= tokens and not is_paid(chunk)) then break end\n", ""),),
        "deaths",
        expects=("in doubt, more than",),
    ),
    Build(
        "a claim does not keep to the pace",
        (lua("pace", "  if wait > 0 then return 0, wait end\n  return allowed, 0\n", "  return math.huge, 0\n"),),
        test="tests/test_ledger_pace.py::test_an_account_is_claimed_at_its_rate_whatever_the_lanes",
    ),
    Build(
        "bulk takes what is kept for transactional mail",
        (lua("pace", "depth and lane == 'bulk' and math.max(1, depth * rules.pace.kept) or 0", "0"),),
        test="tests/test_ledger_pace.py::test_bulk_leaves_a_share_of_the_account_for_transactional_mail",
    ),
    Build(
        "bulk does not give way",
        (lua("claim", "  local gives_way = must_give_way()\n", "  local gives_way = false\n"),),
        test="tests/test_ledger_pace.py::test_bulk_gives_way_while_a_transactional_single_waits",
    ),
    Build(
        "after a 429 the fleet goes on as fast as before",
        (lua("account", "  slow_down(account.name, math.max", "  math.abs(math.max"),),
        test="tests/test_ledger_pace.py::test_after_a_429_nothing_is_claimed_before_the_reset_and_then_at_half_the_pace",
    ),
    Build(
        "the mails of a dead worker are not claimed alone",
        (lua("chunk", "local alone = note_of(chunk, row).died > 0", "local alone = false"),),
        "poisoned",
        expects=("neighbour",),
    ),
    Build(
        "a window has no end",
        (lua("claim", "  redis.call('ZADD', OVERDUE, until_ms, nonce)\n", ""),),
        "deaths",
        expects=("unfinished",),
    ),
    Build(
        "a window ends as soon as it has begun",
        (lua("claim", "now + rules.deadline + rules.slack", "now + 2000"),),
        "slow",
        expects=("doubted",),
    ),
)

SETTLE = (
    Build(
        "a failure after a doubt is taken at its word",
        (lua("chunk", "note.doubts > 0 and UNRESOLVED or state", "state"),),
        "storm",
        expects=("falsely", "in spite of"),
    ),
    Build(
        "doubts are not counted",
        (lua("chunk", "  note.doubts = note.doubts + 1\n", ""),),
        "storm",
        expects=("duplicate without a doubt", "falsely"),
    ),
    Build(
        "what a window says of others' mail counts",
        (lua("settle", "elseif mine and state == SENDING then", "elseif state == SENDING then"),),
        "repeats",
        expects=("duplicate",),
    ),
    Build(
        "a window keeps what it has settled",
        (lua("settle", "  rows[row] = nil\n", ""),),
        "repeats",
        expects=("duplicate", "unfinished", "left over"),
    ),
    Build(
        "a late outcome ends others' doubts",
        (
            lua(
                "settle", "state == IN_DOUBT and note_of(chunk, row).nonce == args.nonce then", "state == IN_DOUBT then"
            ),
        ),
        "repeats",
        expects=("duplicate",),
    ),
    Build(
        "a late outcome ends no doubt",
        (
            lua("settle", "elseif state == IN_DOUBT and", "elseif false and"),
            lua("settle", "elseif kind == 'accepted' then\n", "elseif kind == 'accepted' and state ~= IN_DOUBT then\n"),
        ),
        "zombies_heard",
        expects=("resent", "unheard", "unfinished"),
    ),
    Build(
        "proof counts only for what is being sent",
        (
            lua(
                "settle",
                "elseif kind == 'accepted' then\n",
                "elseif kind == 'accepted' and not (mine and state == SENDING) then\n    stale = stale + 1\n"
                "  elseif kind == 'accepted' then\n",
            ),
        ),
        "zombies_heard",
        expects=("resent", "unheard", "unfinished"),
    ),
    Build(
        "attempts have no end",
        (
            lua(
                "settle",
                "  if attempts_left(chunk, row) <= 0 then return fail(chunk, row, EXHAUSTED, reason) end\n",
                "",
            ),
        ),
        "storm",
        expects=("unfinished",),
    ),
    Build(
        "a retry uses no attempt",
        (lua("settle", "  if uses_attempt then use_attempt(chunk, row) end\n", ""),),
        "storm",
        expects=("unfinished",),
    ),
    Build(
        "an outage uses attempts",
        (lua("settle", "not (window and window.probe))", "true)"),),
        "refusals",
        expects=("for no fault of its own",),
    ),
    Build(
        "a single that is queued again has no place in its lane",
        (lua("chunk", "  if not chunk.batch then\n    local push", "  if false then\n    local push"),),
        "storm",
        expects=("unfinished",),
    ),
    Build(
        "a settled window counts as at work",
        (lua("settle", "        chunk.live = math.max(0, chunk.live - 1)\n", ""),),
        "storm",
        expects=("unfinished",),
    ),
    Build(
        "changes of state are counted twice",
        (lua("chunk", "redis.call('HINCRBY', key, name, change)", "redis.call('HINCRBY', key, name, 2 * change)"),),
        "storm",
        expects=("counts", "the report"),
    ),
    Build(
        "a batch is final with its first chunk",
        (lua("chunk", "  if finished < tonumber(stored[2]) then return end\n", ""),),
        "storm",
        expects=("the report",),
    ),
    Build(
        "a report does not know what came later",
        (
            lua(
                "chunk",
                "    note.was = note.was or { state = NAME[from], reason = note.reason, errors = note.errors }\n",
                "",
            ),
        ),
        "partition",
        expects=("the report of batch",),
    ),
    Build(
        "content goes before its chunk is finished",
        (lua("chunk", "  if is_finished and chunk.moved then\n", "  if chunk.moved then\n"),),
        "storm",
        expects=("content_gone",),
    ),
    Build(
        "no content is kept for a retry by hand",
        (lua("chunk", "  if not kept(chunk):find('k') then\n", "  if true then\n"),),
        test="tests/test_ledger_trimming.py::test_the_content_of_failed_mail_is_kept_for_a_week",
        equivalent="no mail that is still to be sent by itself needs it",
    ),
    Build(
        "content is trimmed though its chunk has changed",
        (lua("trim", "  if kept(chunk) ~= args.kept then return 0 end\n", ""),),
        test="tests/test_ledger_trimming.py::test_a_chunk_that_has_changed_meanwhile_is_not_trimmed",
        equivalent="only a retry by hand needs it",
    ),
)

SWEEP = (
    Build(
        "the mails of a dead worker are queued, not doubted",
        (lua("judge", "  doubt(chunk, row, reason, nonce)\n", "  requeue(chunk, row)\n"),),
        "deaths",
        expects=("duplicate",),
    ),
    Build(
        "nobody is found dead",
        (lua("sweep", "    left = left - judge_owner(owner, left)\n", ""),),
        "poisoned",
        expects=("the poisoned mail",),
    ),
    Build(
        "windows past their time are not judged",
        (lua("sweep", "judge_window(nonce, 'overdue')", ""),),
        test="tests/test_ledger_sweeping.py::test_a_window_past_its_time_is_in_doubt_although_its_worker_lives",
        equivalent="a worker that lives settles its windows, and of one that is dead they are found with it",
    ),
    Build(
        "nobody's windows are judged",
        (
            lua("sweep", "    left = left - judge_owner(owner, left)\n", ""),
            lua("sweep", "judge_window(nonce, 'overdue')", ""),
        ),
        "deaths",
        expects=("unfinished",),
    ),
    Build(
        "a worker is judged though Redis was away",
        (lua("sweep", "if may_judge(swept_at) then judge() end", "judge()"),),
        "gap",
        expects=("doubted",),
    ),
    Build(
        "a sweep does not say that its worker lives",
        (lua("sweep", "redis.call('ZADD', OWNERS, now, args.owner)\n", ""),),
        "slow",
        expects=("doubted", "in doubt, more than"),
    ),
    Build(
        "a judged window counts as at work",
        (lua("judge", "      chunk.live = math.max(0, chunk.live - 1)\n", ""),),
        "deaths",
        expects=("unfinished",),
    ),
    Build(
        "what a dead worker had left is not announced",
        (lua("judge", "      chunk.wake = chunk.batch ~= nil\n", ""),),
        "deaths",
        equivalent="the same sweep finds its wake-up lost, once no older one waits ('lost wake-ups of chunks')",
    ),
    Build(
        "hold is sent again",
        (lua("sweep", "chunk.policy ~= 'resend' or note.doubts > 1", "note.doubts > 1"),),
        "storm",
        expects=("duplicate under hold",),
    ),
    Build(
        "a second doubt is not the last",
        (lua("sweep", "chunk.policy ~= 'resend' or note.doubts > 1", "chunk.policy ~= 'resend'"),),
        "storm",
        expects=("duplicate",),
    ),
    Build(
        "the grace is not waited for",
        (lua("chunk", "redis.call('ZADD', DOUBTS, now + rules.grace,", "redis.call('ZADD', DOUBTS, now,"),),
        "zombies_heard",
        expects=("resent",),
    ),
    Build(
        "what has come due is not queued",
        (lua("sweep", "\nqueue_due()\n", "\n"),),
        "storm",
        expects=("unfinished",),
    ),
    Build(
        "doubts have no end",
        (lua("sweep", "\nend_doubts()\n", "\n"),),
        "storm",
        expects=("unfinished",),
    ),
    Build(
        "a chunk whose retry is due is not announced",
        (lua("chunk", "chunk.due and is_new and", "false and"),),
        test="tests/test_ledger_waking.py::test_a_chunk_is_announced_when_its_retry_is_due",
        equivalent="it is announced 5 s later, as one whose wake-up is lost",
    ),
    Build(
        "lost wake-ups of chunks",
        (lua("sweep", "  wake_chunks(lane, oldest)\n", ""),),
        "lost",
        expects=("unfinished",),
    ),
    Build(
        "lost wake-ups of singles",
        (lua("sweep", "  wake_singles(lane, oldest)\n", ""),),
        "lost",
        expects=("unfinished",),
    ),
    Build(
        "a chunk at work is announced again",
        (lua("sweep", "    elseif chunk.live > 0 then\n", "    elseif false then\n"),),
        test="tests/test_ledger_waking.py::test_a_chunk_that_somebody_sends_from_is_not_announced",
        equivalent="two tasks on one chunk do no harm; only a wake-up is wasted",
    ),
    Build(
        "nobody remembers what was announced",
        (lua("announce", "    redis.call('ZADD', ANNOUNCED .. batch[1], unpack(scores))\n", ""),),
        "lost",
        expects=("unfinished",),
    ),
    Build(
        "a caretaker announces no batch",
        (lua("sweep", "  if announce_page(id) == PAGE then more = true end\n", ""),),
        "producers",
        expects=("unfinished",),
    ),
    Build(
        "a chunk has many wake-ups",
        (lua("chunk", "elseif chunk.wake and not chunk.announced then", "elseif chunk.wake then"),),
        test="tests/test_ledger_waking.py::test_a_chunk_whose_wake_up_still_waits_gets_no_other_when_it_is_given_back",
        equivalent="each stands for one that was used up, but for the one of a dead worker, and does no harm",
    ),
    Build(
        "each single has a wake-up",
        (lua("lane", "  if drains >= HANDFUL then\n", "  if false then\n"),),
        "flood",
        expects=("wake-ups wait",),
    ),
    Build(
        "the chord does not hear of what others finish",
        (lua("chunk", "  if chunk.batch and not (args.in_task or chunk.announced) then announce(chunk) end\n", ""),),
        test="tests/test_ledger_waking.py::test_the_chord_hears_of_a_chunk_that_the_caretaker_has_finished",
        equivalent="a caretaker reports the batch 10 s later ('no caretaker reports' is caught)",
    ),
    Build(
        "no caretaker reports",
        (lua("sweep", "  if not record_report(id, 'caretaker') then redis.call('ZREM', UNREPORTED, id) end\n", ""),),
        "chords",
        expects=("has no report",),
    ),
    Build(
        "a report is recorded again",
        (lua("report", "if not stored[1] or stored[2] then", "if not stored[1] then"),),
        "forged",
        expects=("reports were recorded for",),
    ),
    Build(
        "a report does not wait for all",
        (lua("report", "if not stored[1] or stored[2] then", "if stored[2] then"),),
        "forged",
        expects=("the report of batch",),
    ),
)

CANCEL = (
    Build(
        "what was in doubt is cancelled",
        (lua("cancel", " and note_of(chunk, row).doubts == 0 then", " then"),),
        test="tests/test_ledger_doubting.py::test_a_doubted_mail_cannot_be_cancelled_even_when_it_is_queued_again",
        equivalent="after a doubt a failure, also this one, ends unresolved; only the answer is wrong",
    ),
    Build(
        "what was in doubt is cancelled, and called so",
        (
            lua("cancel", " and note_of(chunk, row).doubts == 0 then", " then"),
            lua("chunk", "note.doubts > 0 and UNRESOLVED or state", "state"),
        ),
        "cancels",
        expects=("falsely cancelled", "in spite of"),
    ),
    Build(
        "what is being sent is cancelled",
        (
            lua(
                "cancel",
                "elseif is_queued(state_of(chunk, row)) and note",
                "elseif not FINISHED[state_of(chunk, row)] and note",
            ),
        ),
        "cancel_races",
        expects=("cancelled",),
    ),
)

ENQUEUE = (
    Build(
        "a key is not looked up",
        (lua("enqueue", "if known then return known end\n", ""),),
        "same_key",
        expects=("all are told the same id", "one mail"),
    ),
    Build(
        "an id is enqueued again",
        (lua("enqueue", "if redis.call('EXISTS', CHUNK .. args.id) == 1 then return { 'known', args.id } end\n", ""),),
        "again",
        expects=("duplicate",),
    ),
    Build(
        "mail is taken until Redis is full",
        (lua("memory", "local full = limit > 0 and used > limit * 0.85", "local full = false"),),
        test="tests/test_ledger_memory.py::test_mail_is_taken_up_to_85_percent",
        equivalent="Redis itself refuses what it has no memory for, and what is there can still be sent",
    ),
    Build(
        "a batch's key is not looked up",
        (lua("open_batch", "if known then return known end\n", ""),),
        "same_key",
        expects=("all are told the same id", "one mail"),
    ),
    Build(
        "a chunk is stored wherever its producer is",
        (lua("store_chunk", "if batch[7] or total ~= args.first_row then", "if batch[7] then"),),
        "same_key",
        expects=("one mail wins", "what was enqueued is sent", "a batch"),
    ),
    Build(
        "a chunk said again is not known",
        (lua("store_chunk", "  return { 'stored', total } -- said again, after a lost reply\n", ""),),
        test="tests/test_ledger_enqueueing.py::test_a_chunk_said_again_after_a_lost_reply_is_stored_once",
        equivalent="a producer is told of a conflict, and the batch goes on under its key",
    ),
    Build(
        "a batch is sealed with others' mails",
        (lua("seal", "if tonumber(batch[2]) ~= args.rows then return { 'behind', chunks } end\n", ""),),
        "same_key",
        times=300,
        expects=("one mail wins", "what was enqueued is sent", "a batch"),
    ),
    Build(
        "a batch is sealed again",
        (lua("seal", "if batch[1] then return { 'sealed', chunks } end\n", ""),),
        "again",
        expects=("counts",),
    ),
)

MERGE = (
    Build(
        "a merged chunk is claimed a window at a time",
        (lua("claim", "request or allowed.mails", "allowed.mails"),),
        test="tests/test_ledger_merging.py::test_a_claim_takes_all_of_it_whatever_the_window",
    ),
    Build(
        "a probe takes all of a merged chunk",
        (lua("claim", "(allowed.probe and 1 or #chunk.rows)", "#chunk.rows"),),
        test="tests/test_ledger_merging.py::test_a_probe_risks_one_mail",
    ),
    Build(
        "what was alone in a request is claimed one by one",
        (lua("claim", "request or 1, allowed", "1, allowed"),),
        test="tests/test_ledger_merging.py::"
        "test_a_request_whose_worker_died_is_doubted_whole_and_sent_again_whole_and_alone",
    ),
    Build(
        "a request that failed counts for each of its mails",
        (
            lua(
                "settle",
                "      for _, row in ipairs(mail[1]) do settle(",
                "      for _, row in ipairs(mail[1]) do hear(mail[2], mail[3], mail[6]) settle(",
            ),
        ),
        test="tests/test_ledger_merging.py::test_the_account_hears_of_a_request_once",
    ),
    Build(
        "a merged mail costs the pace a token each",
        (lua("claim", "  if not is_paid(chunk) then spent", "  if true then spent"),),
        test="tests/test_ledger_merging.py::test_a_request_is_one_mail_to_the_pace",
    ),
)

BUILDS = (*CLAIM, *SETTLE, *SWEEP, *CANCEL, *ENQUEUE, *MERGE)
