"""Rounds made for single guards: each brings about, in under a minute, what its guards are there for."""

from tests.chaos.broken.rounds import answers, deaths, stores, times, wake_ups
from tests.chaos.scenarios import Scenario

ROUNDS: dict[str, Scenario] = {
    "storm": Scenario(answers.storm, 40, "jobs", "SendGrid answers in every way it can, and workers live"),
    "redirects": Scenario(answers.redirects, 20, "jobs", "SendGrid's address sends others to one that says 202"),
    "refusals": Scenario(answers.refusals, 16, "jobs", "SendGrid answers 429, 401 and 503 for some seconds each"),
    "silence": Scenario(answers.silence, 12, "jobs", "SendGrid answers nothing to the first 40 requests"),
    "slow": Scenario(answers.slow, 12, "jobs", "SendGrid takes longer than an owner's life for each answer"),
    "cancels": Scenario(answers.cancels, 40, "jobs", "all is cancelled while it waits, also what was in doubt"),
    "deaths": Scenario(deaths.deaths, 12, "kills", "workers die with all their windows on the wire"),
    "poisoned": Scenario(deaths.poisoned, 1, "batches", "one of 60 mails kills each worker that starts to send it"),
    "chords": Scenario(deaths.chords, 8, "kills", "workers die between the end of a task and the report"),
    "producers": Scenario(deaths.producers, 25, "kills", "producers die wherever they can"),
    "sleepers": Scenario(deaths.sleepers, 3, "stops", "workers sleep until all is over, and go on"),
    "zombies_heard": Scenario(deaths.zombies_heard, 4, "stops", "workers sleep longer than an owner's life"),
    "repeats": Scenario(stores.repeats, 12, "losses", "settles are said again, seconds later"),
    "reclaims": Scenario(stores.reclaims, 6, "losses", "claims are said again, seconds later"),
    "partition": Scenario(stores.partition, 34, "seconds", "a worker reaches SendGrid and not Redis"),
    "gap": Scenario(stores.gap, 10, "jobs", "Valkey is stopped for 7 s, with all windows on the wire"),
    "restarts": Scenario(stores.restarts, 3, "faults", "Valkey is killed and stopped, and every worker lives"),
    "powerless": Scenario(stores.powerless, 2, "losses", "Valkey loses what it had not fsynced"),
    "expiry": Scenario(times.expiry, 26, "seconds", "mails expire during a pause of the account"),
    "forged": Scenario(wake_ups.forged, 80, "wake-ups", "wake-ups come for what must not be sent or reported yet"),
    "lost": Scenario(wake_ups.lost, 4, "seconds", "all wake-ups are lost, with much left to do"),
    "doubled": Scenario(wake_ups.doubled, 10, "seconds", "each wake-up comes twice"),
    "flood": Scenario(wake_ups.flood, 300, "jobs", "many singles for few workers"),
    "again": Scenario(wake_ups.again, 40, "mails", "mails are enqueued again by their ids, and batches by their keys"),
    "same_key": Scenario(wake_ups.same_key, 30, "races", "the same key is enqueued at once by many"),
    "cancel_races": Scenario(wake_ups.cancel_races, 150, "races", "cancel races with send"),
}
