"""What servers say of their event loops: whatever held one for over 100 ms of CPU time fails the test.

Where more processes want to run than there are cores, the same work takes more CPU time, because cores share
caches and arithmetic units. There a test fails at as much more, up to three times.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

HELD = "the event loop was held"
_ENTRY = re.compile(rf"^.*{HELD} for \d+ ms \((\d+) ms.*(?:\n  .*)*", re.MULTILINE)
_ALLOWED = 100
_MOST_CROWDED = 3.0


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
        crowded = min(_MOST_CROWDED, max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)))
        entries = _ENTRY.finditer(added.decode("utf-8", "replace"))
        return [entry[0] for entry in entries if int(entry[1]) > _ALLOWED * crowded]
