"""Tries again while a git server can't be reached, for example while a forge is restarted."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from typing import TypeVar

from rapidflow_web.progress import Progress
from rapidflow_web.source.git import GitError

T = TypeVar("T")

_PATIENCE = 60.0
"""Seconds after the first failure in which there are further tries."""
_LONGEST_PAUSE = 15.0
_UNREACHABLE = re.compile(
    r"connection (?:refused|reset|timed out|closed)|operation timed out|failed to connect|could not connect"
    r"|could not resolve host|could not be resolved|temporary failure in name resolution|no route to host"
    r"|network is unreachable|empty reply from server|early eof|unexpected disconnect|hung up unexpectedly"
    r"|does not answer|returned error: (?:429|5[0-9][0-9])",
    re.IGNORECASE,
)
"""What git, curl, ssh and the proxy of a fetch say then."""
_log = logging.getLogger(__name__)


async def patiently(call: Callable[[], Awaitable[T]], progress: Progress | None) -> T:
    """The result of a call, tried again for a minute where a server can't be reached. `progress` is told."""
    loop, deadline, pause = asyncio.get_running_loop(), None, 1.0
    while True:
        try:
            return await call()
        except GitError as error:
            # Not from the beginning of the call: a fetch may have taken long before the server went away.
            deadline = deadline or loop.time() + _PATIENCE
            if not _UNREACHABLE.search(str(error)) or loop.time() + pause > deadline:
                raise
            _log.warning("%s; trying again in %.0f s", error, pause)
            if progress is not None:
                progress(f"{error}; trying again")
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
