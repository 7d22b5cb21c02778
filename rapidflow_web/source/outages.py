"""Servers of git that do not answer for a moment, for example while a forge is restarted."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from typing import TypeVar

from rapidflow_web.progress import Progress
from rapidflow_web.source.git import GitError

T = TypeVar("T")

_PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Seconds between tries: a minute in all."""
_ABSENT = re.compile(
    r"connection (?:refused|reset|timed out|closed)|operation timed out|failed to connect|could not connect"
    r"|could not resolve host|temporary failure in name resolution|no route to host|network is unreachable"
    r"|empty reply from server|early eof|unexpected disconnect|hung up unexpectedly|does not answer"
    r"|returned error: (?:429|5[0-9][0-9])",
    re.IGNORECASE,
)
"""What git, curl, ssh and the proxy of a fetch say then."""
_log = logging.getLogger(__name__)


async def patiently(call: Callable[[], Awaitable[T]], progress: Progress | None) -> T:
    """The result of a call, tried again for a minute where a server does not answer. `progress` is told."""
    for pause in _PAUSES:
        try:
            return await call()
        except GitError as error:
            if not _ABSENT.search(str(error)):
                raise
            _log.warning("%s; trying again in %.0f s", error, pause)
            if progress is not None:
                progress(f"{error}; trying again")
        await asyncio.sleep(pause)
    return await call()
