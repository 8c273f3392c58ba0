"""Of the worker: the guards of delivery, of the producers and of the settings, each taken out."""

from tests.chaos.broken.build import Build, Edit, lua, worker

DELIVERY = (
    Build(
        "a request starts after its window's time",
        (worker("transport", "if self._held_back or waiting[0].start_by < now:", "if self._held_back:"),),
        "sleepers",
        expects=("late",),
    ),
    Build(
        "what was lost counts as unsent",
        (
            worker(
                "classify",
                "return Outcome(Kind.DOUBT, reply.reason)\n    return Outcome(Kind.RELEASED",
                "return Outcome(Kind.UNSENT, reply.reason)\n    return Outcome(Kind.RELEASED",
            ),
        ),
        "storm",
        expects=("duplicate",),
    ),
    Build(
        "what was written whole counts as unsent",
        (
            worker(
                "transport",
                "return Reply.lost(reason) if whole else Reply.unsent(reason, detail)",
                "return Reply.unsent(reason, detail)",
            ),
        ),
        "storm",
        expects=("duplicate",),
    ),
    Build(
        "what was not written whole counts as lost",
        (
            worker(
                "transport",
                "return Reply.lost(reason) if whole else Reply.unsent(reason, detail)",
                "return Reply.lost(reason)",
            ),
        ),
        test="tests/test_transport.py::test_a_refused_connection_is_unsent",
        equivalent="it costs doubts, and no promise",
    ),
    Build(
        "libcurl has the body, and repeats it",
        (
            worker(
                "transport",
                "        self._reader = BytesIO(body)\n        self._size_bytes = len(body)\n",
                "        self._reader = BytesIO(body)\n        self._reader.seek(0, 2)\n"
                "        self._size_bytes = len(body)\n        self.easy.setopt(pycurl.POSTFIELDS, body)\n",
            ),
        ),
        "storm",
        expects=("duplicate",),
    ),
    Build(
        "libcurl can rewind the body, and repeats it",
        (
            worker(
                "transport",
                "        self._size_bytes = len(body)\n",
                "        self._size_bytes = len(body)\n"
                "        self.easy.setopt(pycurl.SEEKFUNCTION, lambda offset, _: self._reader.seek(offset) and 0)\n",
            ),
        ),
        "storm",
        expects=("duplicate",),
    ),
    Build(
        "redirects are followed",
        (worker("transport", "pycurl.FOLLOWLOCATION: 0", "pycurl.FOLLOWLOCATION: 1"),),
        "redirects",
        expects=("false accepted",),
    ),
    Build(
        "502 and 504 are retried",
        (
            worker(
                "classify",
                "    503: Kind.UNAVAILABLE,\n",
                "    502: Kind.RETRY,\n    503: Kind.UNAVAILABLE,\n    504: Kind.RETRY,\n",
            ),
        ),
        "storm",
        expects=("duplicate",),
    ),
    Build(
        "a 202 without a receipt is retried",
        (worker("classify", 'Outcome(Kind.DOUBT, "no_receipt")', 'Outcome(Kind.RETRY, "no_receipt")'),),
        "storm",
        expects=("duplicate",),
    ),
    Build(
        "a 202 without a receipt is accepted",
        (worker("classify", 'Outcome(Kind.DOUBT, "no_receipt")', "Outcome(Kind.ACCEPTED)"),),
        test="tests/test_classify.py::test_202_without_a_receipt_is_in_doubt",
        equivalent="the sandbox has accepted whatever it answers with 202; a proxy might not have",
    ),
    Build(
        "the account's refusal is the mail's",
        (worker("classify", "    401: Kind.REFUSED,\n", "    401: Kind.REJECTED,\n"),),
        "refusals",
        expects=("for no fault of its own",),
    ),
    Build(
        "a 429 uses an attempt",
        (worker("classify", "    429: Kind.LIMITED,\n", "    429: Kind.RETRY,\n"),),
        "refusals",
        expects=("for no fault of its own",),
    ),
    Build(
        "a request has no deadline",
        (worker("transport", "pycurl.TIMEOUT_MS: round(request_deadline * 1000)", "pycurl.TIMEOUT_MS: 0"),),
        "silence",
        expects=("unfinished",),
    ),
    Build(
        "a settle is said once",
        (
            worker(
                "delivery",
                "settled = self._redis.run(call, give_up_at=window.start_by + self._settings.request_deadline)",
                "settled = self._redis._connection.run(call)",
            ),
        ),
        "restarts",
        expects=("doubted",),
    ),
    Build(
        "a claim said again has another nonce",
        (
            worker(
                "delivery",
                "        claimed = self._redis.run(call, give_up_at=start_by)\n",
                "        while True:\n"
                "            try:\n"
                "                claimed = self._redis._connection.run(call)\n"
                "                break\n"
                "            except Exception:\n"
                "                nonce = self._owner.nonce()\n"
                "                call = self._source.claim(\n"
                "                    self._ledger,\n"
                "                    owner=self._owner.name,\n"
                "                    nonce=nonce,\n"
                "                    limit=self._settings.window,\n"
                "                    account=self._account,\n"
                "                    seen=watermark.step,\n"
                "                )\n",
            ),
        ),
        "reclaims",
        expects=("doubted",),
    ),
    Build(
        "all windows of a worker have one nonce",
        (worker("owner", "{next(self._numbers)}", "1"),),
        "storm",
        expects=("duplicate", "unfinished"),
    ),
    Build(
        "all workers have one name",
        (worker("owner", 'Owner(f"{socket.gethostname()}-{pid}-{secrets.token_hex(4)}")', 'Owner("worker")'),),
        "storm",
        expects=("duplicate", "unfinished"),
    ),
    Build(
        "a task returns before its chunk is finished",
        (worker("tasks", 'if answer.verdict != "finished":', "if False:"),),
        "slow",
        expects=("reported late",),
    ),
    Build(
        "a task returns before its chunk is finished, and the report does not wait",
        (
            worker("tasks", 'if answer.verdict != "finished":', "if False:"),
            lua("report", "if not stored[1] or stored[2] then", "if stored[2] then"),
        ),
        "storm",
        expects=("the report",),
    ),
    Build(
        "a task does not give back what is left",
        (
            worker(
                "delivery",
                ".run(self._source.give_back(self._ledger, self._owner.nonce()), give_up_at=self._clock())",
                "",
            ),
        ),
        test="tests/test_worker_shutdown.py::test_another_worker_takes_over_within_seconds",
        equivalent="it is announced 5 s later, as what has lost its wake-up",
    ),
    Build(
        "garbage is handed to Celery",
        (
            worker(
                "channel", "    except Foreign as foreign:\n", "    except Foreign as foreign:\n        return reply\n"
            ),
        ),
        "wake_ups",
        60,
        expects=("ended with", "unfinished"),
    ),
    Build(
        "no caretaker runs",
        (worker("startup", "    caretaker.start()\n", ""),),
        "storm",
        expects=("unfinished",),
    ),
)

PRODUCERS = (
    Build(
        "a producer that goes on stores all again",
        (
            Edit(
                "producers/operations.py",
                "        if self.row <= self._stored_rows:\n            self._compare()\n            return full\n",
                "",
            ),
        ),
        "producers",
        expects=("lost", "enqueued twice", "the producer ended"),
    ),
)

FORGETFUL = Edit("tests/servers.py", '"appendfsync": "always"', '"appendfsync": "everysec"')

SETTINGS = (
    Build(
        "Redis fsyncs each second",
        (FORGETFUL,),
        "powerless",
        expects=("lost", "unfinished", "unknown", "false accepted", "the producer"),
    ),
    Build(
        "Redis fsyncs each second, and nobody counts steps",
        (
            FORGETFUL,
            lua("basis", "  if step >= (seen or 0) then return false end\n", "  if true then return false end\n"),
        ),
        "powerless",
        expects=("duplicate", "unknown", "lost"),
    ),
    Build(
        "nobody counts steps",
        (lua("basis", "  if step >= (seen or 0) then return false end\n", "  if true then return false end\n"),),
        test="tests/test_ledger_stopping.py::test_a_ledger_behind_what_a_worker_has_seen_stops_everybody",
        equivalent="a Redis that keeps what it has acknowledged is never behind",
    ),
    Build(
        "a settle is refused by a full Redis",
        (Edit("postroom/script.py", '"settle": (ALWAYS_RUNS, ', '"settle": (TAKES_MAIL, '),),
        test="tests/test_ledger_memory.py::test_redis_over_its_limit_refuses_new_mail_and_nothing_else",
        equivalent="the windows are in doubt once their time is over",
    ),
    Build(
        "a grace of zero",
        (Edit("postroom/ledger.py", '"grace": _ms(settings.grace)', '"grace": 0'),),
        "zombies_heard",
        expects=("resent",),
    ),
)

MERGE = (
    Build(
        "who was in a request with a refused one is rejected, too",
        (worker("blame", "    if not errors_of:\n", "    if True:\n"),),
        test="tests/test_merging.py::test_recipients_that_are_refused_are_reported_one_by_one_and_nobody_else_is_hurt",
    ),
    Build(
        "who was in a request with a refused one is forgotten",
        (
            worker(
                "blame", "    return [*rejected, (spared, SPARED)] if spared else rejected\n", "    return rejected\n"
            ),
        ),
        test="tests/test_merging.py::test_recipients_that_are_refused_are_reported_one_by_one_and_nobody_else_is_hurt",
    ),
    Build(
        "a refusal is put on another place of the chunk",
        (worker("blame", "([places[number]], Outcome(", "([places[0] + number], Outcome("),),
        test="tests/test_blame.py::test_a_mail_that_is_named_is_rejected_and_the_others_are_spared",
    ),
    Build(
        "a request may have more recipients than SendGrid takes",
        (
            Edit(
                "producers/operations.py",
                "fits = size_bytes <= limits.most_bytes and recipients <= limits.most_recipients\n",
                "fits = size_bytes <= limits.most_bytes\n",
            ),
        ),
        test="tests/test_merging.py::test_a_request_has_at_most_a_thousand_to_cc_and_bcc",
    ),
    Build(
        "a recipient that opens a new request keeps the id of the old one",
        (
            Edit(
                "producers/operations.py",
                "            taken = self._taken(mail)  # its id is another one now\n",
                "",
            ),
        ),
        test="tests/test_merging.py::test_a_request_has_at_most_a_thousand_to_cc_and_bcc",
    ),
    Build(
        "a trimmed chunk loses its template",
        (worker("trimming", "payload.pack(parts, whole.template)", "payload.pack(parts)"),),
        test="tests/test_merging.py::test_a_dead_letter_of_a_merge_is_retried_by_itself",
    ),
)

BUILDS = (*DELIVERY, *PRODUCERS, *SETTINGS, *MERGE)
