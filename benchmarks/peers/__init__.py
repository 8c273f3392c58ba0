"""Peers: what somebody would use in Postroom's place, each in a file of its own, and Postroom itself.

A peer's module has one function that hands mails over: `enqueue(mail)`, called for each, or `enqueue_all(mails)`.
Either may be a coroutine function. `start()`, if there is one, is awaited first. `prepare(mails)`, if there is one,
makes of the mails what is handed over, and is not measured. The addresses are in the environment: `REDIS_URL`,
`SENDGRID_URL`.

`benchmarks.roster` lists them. They are imported by the programs that are measured (`benchmarks.producer` and each
peer's own worker), in an environment that has nothing of Postroom's.
"""
