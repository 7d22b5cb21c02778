"""Schedules against a real database: what is due is begun once, and follows the definitions."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import cast
from zoneinfo import ZoneInfo

import pytest

from rapidflow_web.builds.beginning import Beginning
from rapidflow_web.db import pipelines
from rapidflow_web.db.database import sqlite_url
from rapidflow_web.db.models import Job, Pipeline
from rapidflow_web.db.trigger_models import Decision, Event, Schedule
from rapidflow_web.pipeline.triggers import CronSchedule
from rapidflow_web.settings import from_environment
from rapidflow_web.triggers.handling import Handling
from rapidflow_web.triggers.schedules import Schedules
from tests.support.databases import opened

_BERLIN = ZoneInfo("Europe/Berlin")


def ms(*moment: int, zone: ZoneInfo | None = None) -> int:
    return int(datetime(*moment, tzinfo=zone or UTC).timestamp() * 1000)  # type: ignore[misc]


def text(*schedules: str) -> str:
    return f"on: {{schedule: [{', '.join(schedules)}]}}\nsteps: ['true']\n"


async def stored(config: str, name: str = "nightly") -> int:
    return (await pipelines.define(None, name=name, config=f"name: {name}\n{config}")).id


async def change(pipeline_id: int, config: str) -> None:
    await pipelines.define(pipeline_id, name="nightly", config=f"name: nightly\n{config}")


async def due() -> list[int]:
    return sorted([row.due_at for row in await Schedule.all()])


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[None]:
    async with opened(sqlite_url(tmp_path / "rapidflow.db")):
        yield


@pytest.fixture
def schedules(database: None, tmp_path: Path) -> Schedules:
    return anew()


def anew() -> Schedules:
    """As a server that has just been started. None of these pipelines stands in a repository."""
    return Schedules(cast(Handling, None), Beginning(from_environment({})))


async def test_what_is_due_begins_once_and_says_why(schedules: Schedules) -> None:
    pipeline_id = await stored(text("{name: hourly, cron: '0 * * * *'}"))
    await schedules.run_due(ms(2026, 5, 1, 9, 30))
    assert await Job.all().count() == 0 and await due() == [ms(2026, 5, 1, 10)]
    for _ in range(3):
        await schedules.run_due(ms(2026, 5, 1, 10, 0))
    (job,) = await Job.all()
    assert (job.event, job.started_by, job.pipeline_id) == ("schedule", "schedule", pipeline_id)
    (event,) = await Event.all()
    (decision,) = await Decision.all()
    assert (event.kind, event.source, decision.outcome) == ("schedule", "schedule", "built")
    assert decision.job_id == job.id and "'hourly'" in decision.reason
    assert await due() == [ms(2026, 5, 1, 11)]


async def test_a_server_that_was_away_over_several_times_builds_once(schedules: Schedules) -> None:
    await stored(text("{cron: '0 * * * *'}"))
    await schedules.run_due(ms(2026, 5, 1, 9, 30))
    await anew().run_due(ms(2026, 5, 1, 12, 45))
    assert await Job.all().count() == 1
    assert await due() == [ms(2026, 5, 1, 13)]


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_clock_that_was_ahead_keeps_no_schedule_from_its_times(
    schedules: Schedules, restarted: bool
) -> None:
    await stored(text("{cron: '0 3 * * *'}"))
    await schedules.run_due(ms(2026, 5, 1, 1))
    await schedules.run_due(ms(2027, 5, 1, 1))
    assert await Job.all().count() == 1 and await due() == [ms(2027, 5, 1, 3)]
    if restarted:
        schedules = anew()
    await schedules.run_due(ms(2026, 5, 1, 1, 5))
    assert await Job.all().count() == 1 and await due() == [ms(2026, 5, 1, 3)]


async def test_a_clock_that_is_set_back_a_little_builds_nothing_twice(schedules: Schedules) -> None:
    await stored(text("{cron: '0 3 * * *'}"))
    await schedules.run_due(ms(2026, 5, 1, 1))
    await schedules.run_due(ms(2026, 5, 1, 3))
    await schedules.run_due(ms(2026, 5, 1, 2, 30))
    await anew().run_due(ms(2026, 5, 1, 3, 1))
    assert await Job.all().count() == 1 and await due() == [ms(2026, 5, 2, 3)]


@pytest.mark.parametrize(
    ("cron", "before", "begins"),
    [
        # 02:30 is left out, and comes twice.
        ("30 2 * * *", (2027, 3, 27, 12), [(2027, 3, 28, 3), (2027, 3, 29, 2, 30)]),
        ("30 2 * * *", (2027, 10, 30, 12), [(2027, 10, 31, 2, 30), (2027, 11, 1, 2, 30)]),
        ("0 12 * * *", (2027, 3, 27, 13), [(2027, 3, 28, 12), (2027, 3, 29, 12)]),
    ],
)
async def test_a_change_of_the_clocks_leaves_no_day_out_and_builds_none_twice(
    schedules: Schedules, cron: str, before: tuple[int, ...], begins: list[tuple[int, ...]]
) -> None:
    await stored(text(f"{{cron: '{cron}', timezone: Europe/Berlin}}"))
    now = ms(*before, zone=_BERLIN)
    begun: list[int] = []
    for _ in range(2 * 24 * 4):
        await schedules.run_due(now)
        if await Job.all().count() > len(begun):
            begun.append(now)
        now += 15 * 60 * 1000
    assert begun[:2] == [ms(*moment, zone=_BERLIN) for moment in begins][: len(begun[:2])]
    assert len(begun) == 2


async def test_a_changed_definition_is_planned_anew(schedules: Schedules) -> None:
    pipeline_id = await stored(text("{name: a, cron: '0 3 * * *'}", "{name: b, cron: '0 4 * * *'}"))
    now = ms(2026, 5, 1, 1)
    await schedules.run_due(now)
    assert await due() == [ms(2026, 5, 1, 3), ms(2026, 5, 1, 4)]
    await change(pipeline_id, text("{name: a, cron: '0 3 * * *'}", "{name: b, cron: '0 5 * * *'}"))
    await schedules.run_due(now)
    assert await due() == [ms(2026, 5, 1, 3), ms(2026, 5, 1, 5)]
    # What was changed while it was due, and is not any more, does not begin.
    await change(pipeline_id, "steps: ['true']\n")
    await schedules.run_due(ms(2026, 5, 1, 6))
    assert await due() == [] and await Job.all().count() == 0


async def test_a_pipeline_that_was_removed_has_no_schedule(schedules: Schedules) -> None:
    pipeline_id = await stored(text("{cron: '0 3 * * *'}"))
    await schedules.run_due(ms(2026, 5, 1, 1))
    await Pipeline.filter(id=pipeline_id).update(deleted_at=1)
    await schedules.run_due(ms(2026, 5, 1, 6))
    assert await due() == [] and await Job.all().count() == 0


async def test_only_the_default_branch_has_schedules(schedules: Schedules) -> None:
    pipeline_id = await stored(text("{cron: '0 3 * * *'}"))
    await Pipeline.filter(id=pipeline_id).update(on_default_branch=False)
    await schedules.run_due(ms(2026, 5, 1, 1))
    assert await due() == []
    # Its branch was merged: nothing else of the pipeline has changed.
    await Pipeline.filter(id=pipeline_id).update(on_default_branch=True)
    await schedules.run_due(ms(2026, 5, 1, 1))
    assert await due() == [ms(2026, 5, 1, 3)]


async def test_one_that_can_not_begin_says_so_and_keeps_no_other_from_it(schedules: Schedules) -> None:
    many = "env: {PORT: none}\nexpose_ports: true\n"
    for name, more in (("first", many), ("second", "")):
        await stored(more + text("{cron: '0 3 * * *'}"), name)
    await schedules.run_due(ms(2026, 5, 1, 1))
    await schedules.run_due(ms(2026, 5, 1, 3))
    (job,) = await Job.all()
    assert sorted([one.outcome for one in await Decision.all()]) == ["built", "failed"]
    assert job.status == "pending" and len(await due()) == 2
    assert "PORT" in "".join([one.reason for one in await Decision.all()])


async def test_h_is_the_same_after_a_restart_and_differs_between_pipelines(schedules: Schedules) -> None:
    for number in range(20):
        await stored(text("{cron: 'H H * * *'}"), f"p{number}")
    now = ms(2026, 5, 1)
    await schedules.run_due(now)
    first = await due()
    await Schedule.all().delete()
    await anew().run_due(now)
    assert await due() == first and len(set(first)) > 10
    one = CronSchedule("H H * * *")
    moment = datetime(2026, 5, 1, tzinfo=UTC)
    assert one.next_after(moment, "pipeline 1") == one.next_after(moment, "pipeline 1")
