"""Slows down whoever tries passwords."""

from __future__ import annotations

import time
from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

_FREE = 5
"""Failures before the first wait."""
_FREE_OF_SITE = 4 * _FREE
"""A site may have many clients."""
_LONGEST = 300.0
_DOUBLINGS = 10
"""More of them are longer than the longest wait."""
_FORGOTTEN = 900.0
_MOST = 10_000
"""Of each kind of key."""


class Key(NamedTuple):
    """What failures are counted by. Those of one kind, such as names or addresses, push out no others."""

    kind: str
    value: str

    @property
    def free(self) -> int:
        """Failures before the first wait."""
        return _FREE_OF_SITE if self.kind == SITE else _FREE


SITE = "site"
"""The kind of a network that one party has, with many addresses that count as clients of their own."""


@dataclass(slots=True)
class _Failures:
    count: int
    at: float
    before: float
    """When the one before the last was."""


class Throttle:
    """Counts failures by key, such as a name or an address; each beyond the fifth doubles the wait."""

    def __init__(self) -> None:
        self._failures: defaultdict[str, OrderedDict[str, _Failures]] = defaultdict(OrderedDict)

    def wait(self, keys: Sequence[Key]) -> float:
        """Seconds until another try is taken from any of `keys`; 0 where it is taken now."""
        now = time.monotonic()
        return max((self._until(key, now) - now for key in keys), default=0.0)

    def _until(self, key: Key, now: float) -> float:
        failures = self._failures[key.kind].get(key.value)
        if failures is None or failures.count < key.free or now - failures.at > _FORGOTTEN:
            return now
        doublings = min(_DOUBLINGS, failures.count - key.free)
        return max(now, failures.at + min(_LONGEST, 2.0**doublings))

    def failed(self, keys: Sequence[Key]) -> None:
        """Notes a failure."""
        now = time.monotonic()
        for kind, value in keys:
            failures = self._failures[kind]
            known = failures.pop(value, None)
            if known is not None and now - known.at <= _FORGOTTEN:
                failures[value] = _Failures(known.count + 1, now, known.at)
            else:
                failures[value] = _Failures(1, now, now)
            if len(failures) > _MOST:
                failures.popitem(last=False)

    def take_back(self, keys: Sequence[Key]) -> None:
        """Forgets a failure that was noted and was none; those of others stay."""
        for kind, value in keys:
            known = self._failures[kind].get(value)
            if known is not None:
                known.count -= 1
                known.at = known.before
                if known.count <= 0:
                    del self._failures[kind][value]

    def forget(self, key: Key) -> None:
        """Forgets all failures of a key."""
        self._failures[key.kind].pop(key.value, None)
