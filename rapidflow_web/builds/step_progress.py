"""How far the steps of a build are: in the log first, and after it in the database.

The log's index is the truth, so a server that takes the build up brings the rows up to it with `restore`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from rapidflow_web.builds import reasons
from rapidflow_web.builds.plan import PlannedStep
from rapidflow_web.builds.stopping import Outcome
from rapidflow_web.db import jobs
from rapidflow_web.db.database import now_ms
from rapidflow_web.logs.index import Kind, Record
from rapidflow_web.logs.writer import LogWriter


class StepProgress:
    """The steps of one build, numbered from 1, which run one after the other."""

    def __init__(self, steps: Sequence[PlannedStep], writer: LogWriter) -> None:
        self._steps = steps
        self._writer = writer
        self._since = time.monotonic()

    @property
    def count(self) -> int:
        """How many steps there are."""
        return len(self._steps)

    @property
    def number(self) -> int:
        """The number of the last step that has begun; 0 before the first."""
        return len(self._writer.log.layout.spans)

    @property
    def runs(self) -> bool:
        """Whether a step has begun and not ended."""
        return self._writer.log.layout.running is not None

    @property
    def running_id(self) -> int | None:
        """The id of the step that runs."""
        span = self._writer.log.layout.running
        return None if span is None else span.step_id

    @property
    def current(self) -> str | None:
        """The last step that has begun, as part of a sentence; None before the first."""
        return self._name(self.number) if self.number else None

    def _name(self, number: int) -> str:
        return reasons.step(number, self._steps[number - 1].definition.type)

    @property
    def seconds(self) -> float:
        """For how long the step has run."""
        return time.monotonic() - self._since

    async def begin(self, number: int, source: int) -> None:
        """Notes that a step runs, whose output begins at byte `source` of the agent's."""
        await self._begin_in_log(number, source)
        await jobs.begin_step(self._steps[number - 1].id, now_ms())

    async def end(
        self, code: int, source: int, stop: Outcome | None, longest_silence: float, *, next_runs: bool
    ) -> None:
        """Notes that the step ended, and with `next_runs` that the next one began where it ended.

        `stop` is how the build ends by a stop that was requested, `longest_silence` is in seconds.
        """
        number = self.number
        await self._writer.end_step(code, source)
        if next_runs:
            # What is printed between two steps belongs to the next one.
            await self._begin_in_log(number + 1, source)
        silence = int(longest_silence * 1000)
        await jobs.end_step(self._steps[number - 1].id, status_of(code, stop), code, now_ms(), silence)
        if next_runs:
            await jobs.begin_step(self._steps[number].id, now_ms())

    async def restore(self, record: Record, stop: Outcome | None) -> None:
        """Brings a step's row up to what the log's index says of it."""
        if record.kind is Kind.START:
            # By the time of day, because it was another server that saw it begin.
            self._since = time.monotonic() - max(0, now_ms() - record.time) / 1000
            await jobs.begin_step(record.step_id, record.time)
        elif record.kind is Kind.END:
            await jobs.end_step(record.step_id, status_of(record.value, stop), record.value, record.time)

    def outcome(self, number: int, code: int) -> Outcome | None:
        """The build's outcome when the last step that ended is `number`; None if there are more to run."""
        if code != 0:
            return Outcome("failed", reasons.exited(number, self._steps[number - 1].definition.type, code))
        return Outcome("success") if number == self.count else None

    async def _begin_in_log(self, number: int, source: int) -> None:
        step = self._steps[number - 1]
        self._since = time.monotonic()
        await self._writer.begin_step(step.id, number, step.definition.type, source)


def status_of(code: int, stop: Outcome | None) -> str:
    """The status of a step that exited with `code`, in a build that a stop ends as `stop`."""
    return stop.status if stop is not None else "failed" if code else "success"
