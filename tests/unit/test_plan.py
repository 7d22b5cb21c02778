"""A plan says what a job needs, from its row and its pipeline alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rapidflow_web.builds.beginning import Beginning, Cause
from rapidflow_web.builds.plan import Plan, plan
from rapidflow_web.db import jobs, pipelines
from rapidflow_web.db.database import sqlite_url
from rapidflow_web.db.models import Definition
from rapidflow_web.errors import Invalid
from rapidflow_web.settings import Settings, from_environment
from tests.support.databases import opened

_EVERYTHING = """
name: all
image: alpine:3
env: {PORT: "8080", WHO: world}
secrets: [TOKEN]
expose_ports: true
new_privileges: true
memory: 128M
timeout: 5m
steps:
  - echo one
  - {type: sh, content: echo two}
"""


@pytest.fixture(autouse=True)
async def settings(tmp_path: Path) -> AsyncIterator[Settings]:
    """Those of a server with an image for Go alone; its database is open."""
    async with opened(sqlite_url(tmp_path / "rapidflow.db")):
        yield from_environment(
            {
                "RAPIDFLOW_DATA": str(tmp_path),
                "RAPIDFLOW_DEFAULT_IMAGE": "debian:usual",
                "RAPIDFLOW_MEMORY": "512M",
                "RAPIDFLOW_IMAGE_GO": "golang:ours",
            }
        )


async def planned(settings: Settings, config: str, **columns: object) -> Plan:
    """The plan of a new job whose row has these columns."""
    pipeline = await pipelines.create("all", config)
    job_id = (await Beginning(settings).start(pipeline.id, Cause("test"))).id
    if columns:
        await jobs.update(job_id, **columns)
    return plan(*await jobs.with_all(job_id), settings)


async def test_plan_has_one_container_with_all_steps_in_order(settings: Settings) -> None:
    made = await planned(settings, _EVERYTHING)

    assert made.containers == (made.main,)
    assert [(step.definition.type, step.definition.content) for step in made.main.steps] == [
        ("bash", "echo one"),
        ("sh", "echo two"),
    ]
    assert len({step.id for step in made.main.steps}) == 2


async def test_plan_has_what_the_pipeline_says_of_the_container(settings: Settings) -> None:
    made = await planned(settings, _EVERYTHING)

    assert (made.main.image, made.main.port, made.main.new_privileges) == ("alpine:3", 8080, True)
    assert (made.limits.memory, made.limits.timeout) == (128 * 1024**2, 300)


async def test_plan_has_the_names_of_secrets_and_not_what_is_stored_of_them(settings: Settings) -> None:
    made = await planned(settings, _EVERYTHING)

    assert made.secrets == ("TOKEN",)
    assert made.environment == {"PORT": "8080", "WHO": "world"}


@pytest.mark.parametrize(
    ("columns", "image"),
    [
        ({}, None),
        ({"language": "go"}, "golang:ours"),
        ({"language": "go", "image": "stored:1"}, "stored:1"),
    ],
)
async def test_plan_chooses_the_image_unless_the_source_has_to(
    settings: Settings, columns: dict[str, object], image: str | None
) -> None:
    assert (await planned(settings, "name: a\nsteps: ['true']", **columns)).main.image == image


async def test_plan_completes_limits_with_those_of_the_server(settings: Settings) -> None:
    assert (await planned(settings, "name: a\nsteps: ['true']")).limits.memory == 512 * 1024**2


async def test_pipeline_that_is_no_longer_valid_has_no_plan(settings: Settings) -> None:
    pipeline = await pipelines.create("all", "name: a\nsteps: ['true']")
    job = await Beginning(settings).start(pipeline.id, Cause("test"))
    await Definition.all().update(config="name: a\nsteps: []")

    with pytest.raises(Invalid):
        plan(*await jobs.with_all(job.id), settings)
