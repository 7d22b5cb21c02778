"""Slows down whoever tries passwords."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

_FREE = 5
"""Failures before the first wait."""
_LONGEST = 300.0
_DOUBLINGS = 10
"""More of them are longer than the longest wait."""
_FORGOTTEN = 900.0
_MOST = 10_000


@dataclass(slots=True)
class _Failures:
    count: int
    at: float
    before: float
    """When the one before the last was."""


class Throttle:
    """Counts failures by key, such as a name or an address; each beyond the fifth doubles the wait."""

    def __init__(self) -> None:
        self._failures: OrderedDict[str, _Failures] = OrderedDict()

    def wait(self, keys: Sequence[str]) -> float:
        """Seconds until another try is taken from any of `keys`; 0 where it is taken now."""
        now = time.monotonic()
        return max((self._until(key, now) - now for key in keys), default=0.0)

    def _until(self, key: str, now: float) -> float:
        failures = self._failures.get(key)
        if failures is None or failures.count < _FREE or now - failures.at > _FORGOTTEN:
            return now
        doublings = min(_DOUBLINGS, failures.count - _FREE)
        return max(now, failures.at + min(_LONGEST, 2.0**doublings))

    def failed(self, keys: Sequence[str]) -> None:
        """Notes a failure."""
        now = time.monotonic()
        for key in keys:
            known = self._failures.pop(key, None)
            if known is not None and now - known.at <= _FORGOTTEN:
                self._failures[key] = _Failures(known.count + 1, now, known.at)
            else:
                self._failures[key] = _Failures(1, now, now)
        while len(self._failures) > _MOST:
            self._failures.popitem(last=False)

    def take_back(self, keys: Sequence[str]) -> None:
        """Forgets a failure that was noted and was none; those of others stay."""
        for key in keys:
            known = self._failures.get(key)
            if known is not None:
                known.count -= 1
                known.at = known.before
                if known.count <= 0:
                    del self._failures[key]

    def forget(self, key: str) -> None:
        """Forgets all failures of a key."""
        self._failures.pop(key, None)
