"""The end of an output that is longer than its log may be."""

from __future__ import annotations

from rapidflow_web.logs import stream_text

_MOST = 1024 * 1024
"""Bytes that are kept of the end of a step."""
_LEAST = 4096


class OutputTail:
    """Takes what is over the `limit` of a log, and keeps the last `size` bytes of each step."""

    def __init__(self, limit: int) -> None:
        self.size = min(_MOST, limit // 2)
        self.total = 0
        """Bytes that were added in this step."""
        self._limit = limit
        self._bytes = bytearray()

    def add(self, data: bytes) -> None:
        """Takes more output."""
        self.total += len(data)
        self._bytes += data[-self.size :]
        # Not each time: to move what is kept costs as much as to take it.
        if len(self._bytes) > 2 * self.size:
            del self._bytes[: -self.size]

    def take(self, before: bytes, log_size: int) -> bytes:
        """What is to follow in a log of `log_size` bytes, of which `before` is the last, when a step ends.

        Where something is left out, it begins with a line that says so, and goes on with a whole line, or
        where the end has none, with a whole character.
        """
        end = bytes(self._bytes[-self.size :])
        if len(end) < self.total:
            end = end[_first_whole(end) :]
            end = stream_text.left_out(self.total - len(end), self._limit, before) + end
        # The more there is, the less the steps to come may keep.
        room = 2 * self._limit - log_size - len(end)
        self.size = max(_LEAST, min(self.size, room))
        self.total = 0
        self._bytes.clear()
        return end


def _first_whole(data: bytes) -> int:
    """Where the first whole line begins, or if there is none, the first whole character."""
    if newline := data.find(b"\n") + 1:
        return newline
    most = min(len(data), stream_text.MOST_CONTINUED)
    return next((at for at in range(most) if not stream_text.continues(data[at])), most)
