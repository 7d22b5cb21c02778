"""Whether the engine and the disk let builds start."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from rapidflow_web.builds import disk
from rapidflow_web.errors import EngineUnavailable
from rapidflow_web.executors.base import Executor

_log = logging.getLogger(__name__)


class Health:
    """What was found when `look` was last called. `data` is the data folder."""

    def __init__(self, executor: Executor, data: Path) -> None:
        self.engine_problem: str | None = None
        """Why no build can be started now, in a sentence; None while all is well."""
        self.disk_problem: str | None = None
        """Why nothing can be written now, in a sentence; None while all is well."""
        self._executor = executor
        self._data = data

    @property
    def good(self) -> bool:
        """Whether builds can be started."""
        return self.engine_problem is None and self.disk_problem is None

    async def look(self) -> None:
        """Looks at both, and says in the server's log what has changed."""
        before = self.disk_problem
        self.disk_problem = await asyncio.to_thread(disk.problem, self._data)
        if self.disk_problem != before:
            _log.warning("%s", self.disk_problem or "the disk can be written again")
        try:
            await self._executor.check()
        except EngineUnavailable as error:
            if self.engine_problem is None:
                _log.warning("%s", error)
            self.engine_problem = str(error)
        else:
            if self.engine_problem is not None:
                _log.info("the engine answers again")
            self.engine_problem = None
