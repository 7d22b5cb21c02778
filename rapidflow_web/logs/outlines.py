"""Outlines of logs, made once for all who look at the same log at about the same time."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rapidflow_web.logs import search
from rapidflow_web.logs.log import Log

_FRESH = 2.0
"""Seconds for which an outline of a log that grows is good enough: a page asks less often than that."""
_MOST = 8
"""Outlines that are kept; the largest take some MB each."""

_Key = tuple[Path, int | None, bool]


@dataclass(frozen=True, slots=True)
class _Kept:
    size: int
    """Of the log when it was outlined."""
    asked_at: float
    answer: dict[str, Any] | str
    """What `search.outline` gives, or why it can't."""

    def is_good_for(self, log: Log) -> bool:
        """Whether the log is the same, or was a moment ago while it grows."""
        is_fresh = not log.sealed and time.monotonic() - self.asked_at < _FRESH
        return is_fresh or self.size == log.size


class Outlines:
    """What `search.outline` gives, kept for those who ask next."""

    def __init__(self) -> None:
        self._kept: OrderedDict[_Key, _Kept] = OrderedDict()

    async def of(self, log: Log, step: int | None, *, has_failed: bool, who: str) -> dict[str, Any]:
        """The outline of a log for `who`, as `search.outline` gives it.

        Raises `CannotSearch`, `TooManyRequests`.
        """
        key = (log.path, step, has_failed)
        # Whoever waits here waits for their own outlines, and for those that are made now.
        async with search.outline_slots.turn(who):
            kept = self._kept.get(key)
            if kept is None or not kept.is_good_for(log):
                kept = await _made(log, step, has_failed)
                self._keep(key, kept)
        if isinstance(kept.answer, str):
            raise search.CannotSearch(kept.answer)
        return kept.answer

    def _keep(self, key: _Key, kept: _Kept) -> None:
        self._kept[key] = kept
        self._kept.move_to_end(key)
        if len(self._kept) > _MOST:
            self._kept.popitem(last=False)


async def _made(log: Log, step: int | None, has_failed: bool) -> _Kept:
    """Raises `SearchFailed`, which the next one who asks may be spared."""
    size, asked_at = log.size, time.monotonic()
    try:
        return _Kept(size, asked_at, await search.outline(log, step, has_failed=has_failed))
    except search.SearchFailed:
        raise
    except search.CannotSearch as problem:
        return _Kept(size, asked_at, str(problem))
