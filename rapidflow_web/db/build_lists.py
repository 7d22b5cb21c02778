"""Builds as lists show them: a few columns, by index whatever the filters, however many jobs there are."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rapidflow_web.db.database import uncancelled
from rapidflow_web.db.jobs import FINISHED
from rapidflow_web.db.sql import dialect, rows
from rapidflow_web.db.visibility import current


@dataclass(frozen=True, slots=True)
class Build:
    """What lists show of a job. Times are milliseconds since 1970."""

    id: int
    pipeline_id: int
    name: str
    status: str
    branch: str | None
    commit: str | None
    created_at: int
    started_at: int | None
    finished_at: int | None
    started_by: str
    retry_of: int | None
    cancelled: bool
    error: str | None
    found: str | None
    """Why it failed, as JSON (see `logs.failure`)."""
    event: str
    ref: str | None
    title: str | None
    author: str | None
    requested: str | None
    """The pull request as JSON."""
    unread: bool
    approval: str | None
    superseded_by: int | None
    concurrency_group: str | None
    on_node: str | None

    @property
    def failure(self) -> dict[str, Any] | None:
        """Why it failed."""
        return None if self.found is None else json.loads(self.found)

    @property
    def pull_request(self) -> dict[str, Any] | None:
        """The pull request that it builds."""
        return None if self.requested is None else json.loads(self.requested)


_SELECT = (
    'SELECT job.id, job.pipeline_id, definition.name, job.status, job.branch, job."commit", job.created_at, '
    "job.started_at, job.finished_at, job.started_by, job.retry_of, job.cancelled, job.error, "
    "job.failure, job.event, job.ref, job.title, job.author, job.pull_request, job.unread, job.approval, "
    "job.superseded_by, job.concurrency_group, job.on_node FROM job "
    "JOIN definition ON definition.id = job.definition_id"
)


def _part(conditions: Sequence[str], order: str) -> str:
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"SELECT * FROM ({_SELECT} {where} {order}) AS part"  # noqa: S608, no value is in the text


@uncancelled
async def now_and_recent(
    running: int, waiting: int, recent: int
) -> tuple[list[Build], list[Build], list[Build]]:
    """The builds that run and those that wait, the oldest first; those that have ended, the newest first.

    No more of each than so many. One query, because the dashboard is asked for all the time.
    """
    seen = ["job.lead_id IS NULL", *current().conditions("job.pipeline_id")]
    parts = [
        _part(["job.status = 'running'", *seen], f"ORDER BY job.id LIMIT {int(running)}"),
        _part(["job.status = 'pending'", *seen], f"ORDER BY job.id LIMIT {int(waiting)}"),
    ]
    for status in FINISHED:
        order = f"ORDER BY job.id DESC LIMIT {int(recent)}"
        parts.append(_part([f"job.status = '{status}'", *seen], order))
    found = [Build(*row) for row in await rows(" UNION ALL ".join(parts))]
    found.sort(key=lambda build: build.id)
    ended = [build for build in found if build.status in FINISHED]
    return (
        [build for build in found if build.status == "running"],
        [build for build in found if build.status == "pending"],
        ended[: -recent - 1 : -1],
    )


@uncancelled
async def of_ids(job_ids: Sequence[int]) -> dict[int, Build]:
    """The builds with these ids, of pipelines that may be seen."""
    if not job_ids:
        return {}
    numbers = ", ".join(str(int(number)) for number in job_ids)
    where = " AND ".join([f"job.id IN ({numbers})", *current().conditions("job.pipeline_id")])
    return {row[0]: Build(*row) for row in await rows(f"{_SELECT} WHERE {where}")}


@dataclass(frozen=True, slots=True)
class Bar:
    """What a chart shows of a build. Times are milliseconds since 1970."""

    id: int
    status: str
    started_at: int | None
    finished_at: int | None

    @property
    def duration(self) -> int | None:
        """Milliseconds from start to end; None until both are known."""
        if self.started_at is None or self.finished_at is None:
            return None
        return max(0, self.finished_at - self.started_at)


# One statement for all pipelines, that reads no more rows of each than are wanted and gives them as one text:
# to take 1,500 rows out of the database costs more than to find them.
_OF_EACH = {
    "sqlite": (
        "SELECT pipeline.value, (SELECT json_group_array(json_array(id, status, started_at, finished_at)) "
        "FROM (SELECT id, status, started_at, finished_at FROM job WHERE pipeline_id = pipeline.value "
        "AND lead_id IS NULL ORDER BY id DESC LIMIT ?2)) FROM json_each(?1) AS pipeline"
    ),
    "postgres": (
        "SELECT pipeline::bigint, (SELECT "
        "coalesce(json_agg(json_build_array(id, status, started_at, finished_at)), '[]')::text "
        "FROM (SELECT id, status, started_at, finished_at FROM job WHERE pipeline_id = pipeline::bigint "
        "AND lead_id IS NULL ORDER BY id DESC LIMIT ?2) AS part) "
        "FROM json_array_elements_text(?1) AS pipeline"
    ),
}


@uncancelled
async def bars_of_each(
    pipeline_ids: Sequence[int], limit: int, *, successful: bool = False
) -> dict[int, tuple[Bar, ...]]:
    """The last builds of pipelines, or the last `successful` ones; up to `limit` of each, oldest first."""
    if not pipeline_ids:
        return {}
    statement = _OF_EACH[dialect()]
    if successful:
        statement = statement.replace("ORDER BY id DESC", "AND status = 'success' ORDER BY id DESC")
    found = await rows(statement, [json.dumps(list(pipeline_ids)), limit])
    return {pipeline_id: _bars(text) for pipeline_id, text in found}


@functools.lru_cache(maxsize=512)
def _bars(text: str) -> tuple[Bar, ...]:
    return tuple(Bar(*bar) for bar in sorted(json.loads(text)))
