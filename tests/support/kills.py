"""Processes that are killed in the middle of what they change on the disk."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

DONE, KILLED = 0, -signal.SIGKILL
_CHANGES = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link")


def done_or_killed(action: Callable[[Callable[[], None]], object], *, dies_at: int = 0) -> int:
    """Does it in a process of its own, which is killed before it changes the disk the `dies_at`-th time.

    `action` is given what it must call when the changes are to be counted. Returns the exit code of the
    process, or the negative number of the signal that ended it.
    """
    pid = os.fork()
    if pid == 0:
        changes = 0

        def count(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal changes
            writes = event == "open" and isinstance(flags := arguments[2], int) and flags & os.O_ACCMODE
            if event in _CHANGES or writes:
                changes += 1
                if changes == dies_at:
                    os.kill(os.getpid(), signal.SIGKILL)

        code = 1
        try:
            action(lambda: sys.addaudithook(count))
            code = DONE
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
