"""Watch: looks at the ledger all the time, from the side: how many wake-ups wait, and whether all is quiet."""

from contextlib import suppress
from typing import NamedTuple

import redis

#: Wake-ups that wait; unfinished chunks; wake-ups of finished chunks, which only the chord has to count, and reports.
LOOK = """#!lua flags=no-writes
local waiting = redis.call('LLEN', 'transactional') + redis.call('LLEN', 'bulk')
if waiting <= tonumber(ARGV[1]) then return { waiting, -1, 0 } end
local unfinished = 0
for _, id in ipairs(redis.call('ZRANGE', 'postroom:deadlines', 0, -1)) do
  if id:find('.', 1, true) then unfinished = unfinished + 1 end
end
local finished = 0
for _, lane in ipairs({ 'transactional', 'bulk' }) do
  for _, message in ipairs(redis.call('LRANGE', lane, 0, -1)) do
    local id = message:match('"id": ?"([a-z2-7]+%.%d+)"')
    local states = id and redis.call('HGET', 'postroom:chunk:' .. id, 'states')
    local is_report = not id and message:find('postroom.report', 1, true)
    if is_report or states and not states:find('[qwosd]') then finished = finished + 1 end
  end
end
return { waiting, unfinished, finished }
"""
#: What is left to do: mails that are not finished, wake-ups of batches and in lanes, windows, doubts, reports,
#: and what comes after them.
LEFT = """#!lua flags=no-writes
local left = redis.call('LLEN', 'transactional') + redis.call('LLEN', 'bulk') + redis.call('HLEN', 'postroom:windows')
for _, key in ipairs({ 'deadlines', 'announce', 'doubts', 'due', 'unreported', 'then' }) do
  left = left + redis.call('ZCARD', 'postroom:' .. key)
end
return left
"""
#: Mails of a source, a chunk or a lane, that can be claimed now.
CLAIMABLE = """#!lua flags=no-writes
local states = redis.call('HGET', 'postroom:chunk:' .. ARGV[1], 'states')
if states then
  local _, count = states:gsub('[qo]', '')
  return count
end
local lane = 'postroom:lane:' .. ARGV[1]
return redis.call('LLEN', lane .. ':singles') + redis.call('LLEN', lane .. ':alone')
"""


class WakeUps(NamedTuple):
    """`unfinished` is -1 where it does not matter, so few are the wake-ups."""

    waiting: int
    unfinished: int
    of_finished: int


class Watch:
    """`allowed` is how many wake-ups may wait besides one for each unfinished chunk."""

    def __init__(self, client: "redis.Redis", allowed: int) -> None:
        self._client = client
        self._allowed = allowed
        #: Whether too many are a violation.
        self.judges = True
        self.samples = 0
        self.most_waiting = 0
        self.violations: list[str] = []

    def sample(self) -> None:
        """Nothing, while Redis is away."""
        with suppress(redis.RedisError):
            found = WakeUps(*self._client.eval(LOOK, 0, self._allowed))
            self.samples += 1
            self.most_waiting = max(self.most_waiting, found.waiting)
            if (
                self.judges
                and found.unfinished >= 0
                and found.waiting - found.of_finished > found.unfinished + self._allowed
            ):
                self.violations.append(
                    f"{found.waiting} wake-ups wait, {found.of_finished} of them for finished chunks, "
                    f"with {found.unfinished} chunks unfinished and {self._allowed} allowed besides"
                )

    def left(self) -> int | None:
        """How much is left to do; None while Redis is away."""
        with suppress(redis.RedisError):
            return int(self._client.eval(LEFT, 0))
        return None

    def senders(self) -> set[int]:
        """The pids of the workers that hold mails now."""
        with suppress(redis.RedisError):
            owners = {nonce.decode().partition("/")[0] for nonce in self._client.hkeys("postroom:windows")}
            return {int(owner.split("-")[-2]) for owner in owners}
        return set()

    def claimable(self, source: str) -> int:
        with suppress(redis.RedisError):
            return int(self._client.eval(CLAIMABLE, 0, source))
        return 0
