"""Starts what is due by a schedule, once for however many times it was missed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from tortoise.transactions import in_transaction

from rapidflow_web.builds.beginning import Beginning, Cause
from rapidflow_web.db import events, outbox, pipelines, repositories, schedules
from rapidflow_web.db.database import now_ms, uncancelled
from rapidflow_web.db.models import Pipeline
from rapidflow_web.db.trigger_models import Schedule
from rapidflow_web.errors import Invalid, RapidFlowError, RequestError
from rapidflow_web.pipeline import parser
from rapidflow_web.pipeline.triggers import CronSchedule
from rapidflow_web.triggers.handling import Handling
from rapidflow_web.triggers.occurrence import HEADS, Occurrence

_log = logging.getLogger(__name__)

_LOOK_AGAIN_SECONDS = 60.0
"""After which a schedule is tried again whose repository could not be reached."""
_CLOCK_WENT_BACK = 3 * 3600 * 1000
"""Milliseconds: where a clock is set back by less, schedules are not due again at times that they had."""


class Schedules:
    """Keeps a row for each schedule, and starts what is due."""

    def __init__(self, handling: Handling, beginning: Beginning) -> None:
        self._handling = handling
        self._beginning = beginning
        self._known: object = None
        self._looked_at = 0
        self._paused: dict[int, float] = {}

    async def run_due(self, now: int) -> Mapping[int, Sequence[Schedule]]:
        """Starts what is due by `now`, in ms, but what has to be read from repositories.

        Returns that, by the ids of these, for `start`: one that does not answer holds up nobody else.
        """
        state = await schedules.state_of_pipelines()
        if state != self._known or now < self._looked_at:
            await self._plan(now)
            self._known = state
        self._looked_at = now
        in_repositories: dict[int, list[Schedule]] = {}
        for row in await schedules.due(now):
            if (repository_id := row.pipeline.repository_id) is not None:
                in_repositories.setdefault(repository_id, []).append(row)
            else:
                await self._try(row, lambda: now)
        return in_repositories

    async def start(self, due: Sequence[Schedule]) -> None:
        """Starts these schedules."""
        for row in due:
            await self._try(row, now_ms)

    async def _try(self, row: Schedule, now: Callable[[], int]) -> None:
        if self._paused.get(row.id, 0) > time.monotonic():
            return
        self._paused.pop(row.id, None)
        try:
            await self._start(row, now)
        except RapidFlowError as error:
            _log.info("the schedule '%s' of pipeline %d is tried again: %s", row.key, row.pipeline_id, error)
            self._paused[row.id] = time.monotonic() + _LOOK_AGAIN_SECONDS

    async def _plan(self, now: int) -> None:
        """Makes the rows fit the definitions, and the clock where it was ahead."""
        wanted: dict[tuple[int, str], schedules.Due] = {}
        for pipeline in await schedules.pipelines_with_any():
            for schedule in await asyncio.to_thread(_of, pipeline):
                latest = _next(pipeline, schedule, now + _CLOCK_WENT_BACK)
                wanted[pipeline.id, schedule.key()] = schedules.Due(_next(pipeline, schedule, now), latest)
        await schedules.replace(wanted)

    async def _start(self, row: Schedule, now: Callable[[], int]) -> None:
        pipeline = await pipelines.get(row.pipeline_id)
        every = await asyncio.to_thread(_of, pipeline) if pipeline is not None else ()
        found = [one for one in every if one.key() == row.key]
        if pipeline is None or not found:
            await schedules.remove(row.id)
            return
        schedule = found[0]
        repository = await repositories.get(pipeline.repository_id) if pipeline.repository_id else None
        if repository is None:
            await self._start_stored(pipeline, schedule, row, _next(pipeline, schedule, now()))
            return
        ref = f"{HEADS}{schedule.branch or repository.default_branch}"
        occurrence = Occurrence("schedule", "schedule", ref, only=frozenset((pipeline.id,)))
        async with self._handling.lock(repository.id):
            # The time of the end counts: whatever passed while it was fetched has been built by that.
            await self._handling.happened(
                repository, occurrence, lambda: schedules.set_due(row.id, _next(pipeline, schedule, now()))
            )

    @uncancelled
    async def _start_stored(
        self, pipeline: Pipeline, schedule: CronSchedule, row: Schedule, due: int
    ) -> None:
        branch = schedule.branch
        cause = Cause("schedule", "schedule")
        async with in_transaction():
            outcome, reason, job_id = (
                "built",
                f"its schedule '{schedule.name or schedule.cron}' was due",
                None,
            )
            try:
                job_id = (await self._beginning.start(pipeline.id, cause, branch=branch)).id
            except RequestError as error:
                outcome, reason = "failed", str(error)
            event = await events.create(
                kind="schedule", source="schedule", ref=f"{HEADS}{branch}" if branch else None
            )
            await events.decide(event.id, pipeline.id, outcome, reason, job_id)
            await schedules.set_due(row.id, due)
        outbox.wake()


def _of(pipeline: Pipeline) -> tuple[CronSchedule, ...]:
    """The schedules of a pipeline whose definition is that of the default branch, or stored here."""
    try:
        parsed = parser.parse_stored(pipeline.definition.config, pipeline.definition.name)
    except Invalid:
        return ()
    return parsed.on.schedule if parsed.on is not None and pipeline.on_default_branch else ()


def _next(pipeline: Pipeline, schedule: CronSchedule, now: int) -> int:
    moment = datetime.fromtimestamp(now / 1000, UTC)
    return int(schedule.next_after(moment, f"pipeline {pipeline.id}").timestamp() * 1000)
