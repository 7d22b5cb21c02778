"""A bound for what would take hours, as quadratic patterns do."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator


@contextlib.contextmanager
def cpu_seconds(most: float) -> Iterator[None]:
    """Ends with an error what takes over `most` seconds of CPU time."""

    def give_up(_signal: int, _frame: object) -> None:
        raise AssertionError(f"it took over {most} s of CPU time")

    before = signal.signal(signal.SIGPROF, give_up)
    signal.setitimer(signal.ITIMER_PROF, most)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
