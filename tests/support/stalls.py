"""What servers say of their event loops: whatever held one for over 100 ms of CPU time fails the test."""

from __future__ import annotations

import re
from pathlib import Path

HELD = "the event loop was held"
_ENTRY = re.compile(rf"^.*{HELD}.*(?:\n  .*)*", re.MULTILINE)


class Stalls:
    """The stalls in a server's log, each told once."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._read = 0

    def new(self) -> list[str]:
        """Those since the last time, with their stacks."""
        if not self._log.exists() or self._log.stat().st_size <= self._read:
            return []
        with self._log.open("rb") as file:
            file.seek(self._read)
            added = file.read()
        self._read += len(added)
        return _ENTRY.findall(added.decode("utf-8", "replace"))
