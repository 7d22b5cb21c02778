"""Answers that were made once and can't change any more."""

from __future__ import annotations

from collections import OrderedDict

_LIMIT = 16 * 1024 * 1024


class KeptAnswers:
    """Encoded answers by the id of what they show, up to `limit` bytes; the longest unused go first."""

    def __init__(self, limit: int = _LIMIT) -> None:
        self._limit = limit
        self._size = 0
        self._bodies: OrderedDict[int, bytes] = OrderedDict()

    def get(self, number: int) -> bytes | None:
        """The answer; None if it is not kept."""
        body = self._bodies.get(number)
        if body is not None:
            self._bodies.move_to_end(number)
        return body

    def keep(self, number: int, body: bytes) -> None:
        """Keeps an answer, which must be final."""
        self._size += len(body) - len(self._bodies.pop(number, b""))
        self._bodies[number] = body
        while self._size > self._limit:
            _, forgotten = self._bodies.popitem(last=False)
            self._size -= len(forgotten)
