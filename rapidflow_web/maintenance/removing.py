"""Notes which builds are being removed, so that what a killed server has left of them is known."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path

from rapidflow_web.private_files import write_atomically


class Removing:
    """The note in the file `path`: of builds whose rows may be gone while their logs are still there."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def begin(self, job_ids: Sequence[int]) -> None:
        """Notes them, safe on the disk. On a full disk, where removals are needed most, there is no note."""
        with contextlib.suppress(OSError):
            write_atomically(self._path, json.dumps(list(job_ids)).encode())

    def begun(self) -> list[int]:
        """Those that were noted, and whose removal has not come to its end."""
        try:
            return [int(job_id) for job_id in json.loads(self._path.read_bytes())]
        except (OSError, ValueError, TypeError):
            return []

    def end(self) -> None:
        """Nothing of them is left."""
        self._path.unlink(missing_ok=True)
        self._path.with_name(f"{self._path.name}.new").unlink(missing_ok=True)
