"""The end of an output that is longer than its log may be."""

from __future__ import annotations


class KeptEnd:
    """Takes what is over the limit of a log, and keeps its last `size` bytes."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._bytes = bytearray()
        self.total = 0
        """Bytes that were added."""

    def add(self, data: bytes) -> None:
        """Takes more output."""
        self.total += len(data)
        self._bytes += data[-self.size :]
        # Not each time: to move what is kept costs as much as to take it.
        if len(self._bytes) > 2 * self.size:
            del self._bytes[: -self.size]

    def end(self) -> bytes:
        """The last `size` bytes, from the beginning of a line where something before it is left out."""
        kept = bytes(self._bytes[-self.size :])
        return kept[kept.find(b"\n") + 1 :] if len(kept) < self.total else kept
