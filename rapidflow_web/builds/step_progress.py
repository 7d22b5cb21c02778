"""How far the steps of a build are: in the log first, and after it in the database.

The log's index is the truth, so a server that takes the build up brings the rows up to it with `restore`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from rapidflow_web.builds import reasons
from rapidflow_web.builds.plan import PlannedStep, following
from rapidflow_web.builds.stopping import Outcome
from rapidflow_web.db import job_steps
from rapidflow_web.db.database import now_ms
from rapidflow_web.errors import Cause
from rapidflow_web.executors.agent import protocol
from rapidflow_web.logs.index import Kind, Record
from rapidflow_web.logs.writer import LogWriter

_KILLED = 137
"""The exit code of a step that was killed, as one is that needs too much memory."""


class StepProgress:
    """The steps of one build, numbered from 1. They run one after the other, but those that are left out.

    Those that are `post` come last. They run also after a stop, unless no other step had begun.
    """

    def __init__(self, steps: Sequence[PlannedStep], writer: LogWriter) -> None:
        self._steps = steps
        self._writer = writer
        self._numbers = {step.id: number for number, step in enumerate(steps, 1)}
        self._since = time.monotonic()
        self._ordinary = sum(not step.definition.post for step in steps)
        self.told = False
        """Whether the agent may have been told to run the first step."""
        self.in_post = False
        """Whether the steps that are `post` have their turn."""
        self.post_source = 0
        """Where the output of the first of them begins, in bytes of the agent's output."""
        self._post_since: float | None = None

    @property
    def count(self) -> int:
        """How many steps there are."""
        return len(self._steps)

    @property
    def number(self) -> int:
        """The number of the last step that has begun; 0 before the first."""
        spans = self._writer.log.layout.spans
        return self._numbers[spans[-1].step_id] if spans else 0

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

    @property
    def first(self) -> int:
        """The number of the first step that runs; 0 where all are left out."""
        return following(self._steps, 0, False) or 0

    @property
    def next(self) -> int | None:
        """The step that runs when the last one that has begun has ended as it did; None for the end."""
        return self.next_after(0)

    def next_after(self, code: int, stopped: bool = False) -> int | None:
        """The step that runs next if the one that runs exits with `code`; None for the end of the build.

        After a stop only those that are `post` do.
        """
        number = max(self.number, self._ordinary) if stopped else self.number
        return following(self._steps, number, code != 0 or self._failure() is not None)

    @property
    def post_follows(self) -> bool:
        """Whether a stop ends the step that runs alone, because steps that are `post` are to follow it."""
        return (self.told or self.number > 0) and not self.in_post and self.next_after(0, True) is not None

    @property
    def post_seconds(self) -> float:
        """For how long the steps that are `post` have been running."""
        return 0.0 if self._post_since is None else time.monotonic() - self._post_since

    def command(self, number: int, stop: Outcome | None, code: int = 0) -> bytes:
        """Tells the agent to run step `number`, which has its turn from now on.

        `stop` is how the build ends by a stop that was requested, `code` that of the step before.
        """
        self.told = True
        if not self._is_post(number):
            return protocol.run_command(number)
        self.in_post = True
        failed = code != 0 or self._failure() is not None
        return protocol.run_command(number, stop.status if stop else "failed" if failed else "success")

    def _is_post(self, number: int) -> bool:
        return number > self._ordinary

    def _failure(self, *, before_last: bool = False) -> int | None:
        """The number of the first step that failed."""
        spans = self._writer.log.layout.spans
        return next(
            (self._numbers[span.step_id] for span in spans[: -1 if before_last else None] if span.exit_code),
            None,
        )

    def _name(self, number: int) -> str:
        return reasons.step(number, self._steps[number - 1].definition.type)

    @property
    def seconds(self) -> float:
        """For how long the step has run."""
        return time.monotonic() - self._since

    @property
    def left_out(self) -> list[int]:
        """The ids of steps that wait for a failure which did not come, or came after them."""
        failure = self._failure() or self.count + 1
        return [
            step.id
            for step in self._steps[: failure - 1]
            if step.definition.skipped is None and not step.definition.runs_after(False)
        ]

    async def begin(self, number: int, source: int) -> None:
        """Notes that a step runs, whose output begins at byte `source` of the agent's."""
        await self._begin_in_log(number, source)
        await job_steps.begin(self._steps[number - 1].id, now_ms())

    async def end(
        self, code: int, source: int, stop: Outcome | None, longest_silence: float, following: int | None
    ) -> None:
        """Notes that the step ended, and that the step `following` began where it ended; None: none did.

        `stop` is how the build ends by a stop that ended the step, `longest_silence` is in seconds.
        """
        number = self.number
        await self._writer.end_step(code, source)
        if following is not None:
            # What is printed between two steps belongs to the next one.
            await self._begin_in_log(following, source)
        await job_steps.end(
            self._steps[number - 1].id,
            status_of(code, stop),
            code,
            now_ms(),
            int(longest_silence * 1000),
            None if following is None else self._steps[following - 1].id,
        )

    async def restore(self, record: Record, stop: Outcome | None) -> None:
        """Brings a step's row up to what the log's index says of it."""
        number = self._numbers.get(record.step_id, 0)
        if record.kind is Kind.START:
            self._note_post(number, record.source, max(0, now_ms() - record.time) / 1000)
            # By the time of day, because it was another server that saw it begin.
            self._since = time.monotonic() - max(0, now_ms() - record.time) / 1000
            await job_steps.begin(record.step_id, record.time)
        elif record.kind is Kind.END:
            # One that is post was not what the stop ended.
            status = status_of(record.value, None if self._is_post(number) else stop)
            await job_steps.end(record.step_id, status, record.value, record.time)

    def outcome(self) -> Outcome | None:
        """The build's outcome by the first step that failed; None if there are steps to run."""
        if self.runs or self.next is not None:
            return None
        failure = self._failure()
        return Outcome("success") if failure is None else Outcome("failed", self._exited(failure))

    def failed(self, error: str, cause: Cause | None) -> Outcome:
        """How a build ended that `error` ended: because of that, unless an earlier step had failed."""
        failure = self._failure(before_last=True)
        return (
            Outcome("failed", error, cause) if failure is None else Outcome("failed", self._exited(failure))
        )

    @property
    def killed(self) -> str | None:
        """The first step that failed, as part of a sentence, if it was killed; None otherwise."""
        failure = self._failure()
        return self._name(failure) if failure is not None and self._code(failure) == _KILLED else None

    def _exited(self, number: int) -> str:
        return reasons.exited(number, self._steps[number - 1].definition.type, self._code(number))

    def _code(self, number: int) -> int:
        span = self._writer.log.layout.span(self._steps[number - 1].id)
        return span.exit_code or 0 if span is not None else 0

    async def _begin_in_log(self, number: int, source: int) -> None:
        step = self._steps[number - 1]
        self._since = time.monotonic()
        self._note_post(number, source, 0.0)
        await self._writer.begin_step(step.id, number, step.definition.type, source)

    def _note_post(self, number: int, source: int, seconds: float) -> None:
        """Notes that a step began `seconds` ago, at byte `source` of the agent's output."""
        if self._is_post(number) and self._post_since is None:
            self.in_post, self.post_source = True, source
            self._post_since = time.monotonic() - seconds


def status_of(code: int, stop: Outcome | None) -> str:
    """The status of a step that exited with `code`; `stop` is how the build ends by a stop that ended it."""
    return stop.status if stop is not None else "failed" if code else "success"
