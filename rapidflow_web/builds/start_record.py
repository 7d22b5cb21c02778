"""What a build keeps in its folder of its beginning, for a server that takes it up again.

That it began says that its agent may have been told to run a step. When is kept in a time that does not
jump: the time of day may be set while a build runs, the time since the machine was started is not.
"""

from __future__ import annotations

import time
from pathlib import Path

from rapidflow_web.errors import BuildError

_BOOT = Path("/proc/sys/kernel/random/boot_id")


def uptime() -> float:
    """Seconds since the machine was started."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class StartRecord:
    """The beginning of the build in `root`."""

    def __init__(self, root: Path) -> None:
        self._file = root / "began"

    def note(self, at: float) -> None:
        """Before the agent is told anything. `at` is the uptime at which the job was claimed.

        Raises `BuildError`.
        """
        try:
            self._file.write_text(f"{_BOOT.read_text().strip()} {at}")
        except OSError as error:
            raise BuildError(f"the build's folder can't be written: {error.strerror}") from error

    def forget(self) -> None:
        """No step has run; what there is of the build is given up."""
        self._file.unlink(missing_ok=True)

    @property
    def noted(self) -> bool:
        """Whether a step may have run."""
        return self._file.exists()

    @property
    def at(self) -> float | None:
        """The uptime that was noted; None where there is none, or the machine was started since then."""
        try:
            boot, at = self._file.read_text().split()
            return float(at) if boot == _BOOT.read_text().strip() else None
        except (OSError, ValueError):
            return None
