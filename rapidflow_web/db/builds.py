"""Builds as lists show them: a few columns, by index whatever the filters, however many jobs there are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tortoise import connections

from rapidflow_web.db.database import uncancelled
from rapidflow_web.db.jobs import STATUSES


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


_SELECT = (
    'SELECT job.id, job.pipeline_id, definition.name, job.status, job.branch, job."commit", job.created_at, '
    "job.started_at, job.finished_at, job.started_by, job.retry_of, job.cancelled, job.error "
    "FROM job JOIN definition ON definition.id = job.definition_id"
)


@uncancelled
async def newest(
    limit: int,
    *,
    pipeline_id: int | None = None,
    statuses: Sequence[str] = (),
    branch: str | None = None,
    before: int | None = None,
    after: int | None = None,
) -> list[Build]:
    """Up to `limit` builds, newest first, with ids below `before` or, those nearest to it, above `after`.

    `statuses` are the ones that are taken, all by default.
    """
    conditions: list[str] = []
    values: list[object] = []
    for condition, value in (
        ("job.pipeline_id = ", pipeline_id),
        ("job.branch = ", branch),
        ("job.id < ", before),
        ("job.id > ", after),
    ):
        if value is not None:
            values.append(value)
            conditions.append(f"{condition}?{len(values)}")
    order = f"ORDER BY job.id {'DESC' if after is None else 'ASC'} LIMIT {int(limit)}"
    # An index has the ids of one status in order, not those of several: each status is asked for by itself,
    # so that the database never sorts or passes over what is not shown.
    if not statuses and branch is not None:
        statuses = STATUSES
    parts: list[str] = []
    for status in statuses:
        values.append(status)
        parts.append(_part([*conditions, f"job.status = ?{len(values)}"], order))
    parts = parts or [_part(conditions, order)]
    found = [Build(*row) for row in await _rows(" UNION ALL ".join(parts), values)]
    found.sort(key=lambda build: build.id, reverse=after is None)
    return sorted(found[:limit], key=lambda build: build.id, reverse=True)


def _part(conditions: Sequence[str], order: str) -> str:
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    return f"SELECT * FROM ({_SELECT} {where} {order}) AS part"  # noqa: S608, no value is in the text


@uncancelled
async def oldest(limit: int, status: str) -> list[Build]:
    """Up to `limit` builds of a status, oldest first."""
    statement = f"{_SELECT} WHERE job.status = ?1 ORDER BY job.id LIMIT ?2"
    return [Build(*row) for row in await _rows(statement, [status, limit])]


@dataclass(frozen=True, slots=True)
class Bar:
    """What a chart shows of a build. Times are milliseconds since 1970."""

    id: int
    pipeline_id: int
    status: str
    branch: str | None
    started_at: int | None
    finished_at: int | None

    @property
    def duration(self) -> int | None:
        """Milliseconds from start to end; None until both are known."""
        if self.started_at is None or self.finished_at is None:
            return None
        return max(0, self.finished_at - self.started_at)


# One statement for all pipelines, that reads no more rows of each than are wanted.
_OF_EACH = {
    "sqlite": (
        "SELECT job.id, job.pipeline_id, job.status, job.branch, job.started_at, job.finished_at "
        "FROM json_each(?1) AS pipeline JOIN job ON job.id IN (SELECT id FROM job "
        "WHERE pipeline_id = pipeline.value ORDER BY id DESC LIMIT ?2) ORDER BY job.id"
    ),
    "postgres": (
        "SELECT job.id, job.pipeline_id, job.status, job.branch, job.started_at, job.finished_at "
        "FROM json_array_elements_text(?1) AS pipeline CROSS JOIN LATERAL (SELECT * FROM job "
        "WHERE pipeline_id = pipeline::bigint ORDER BY id DESC LIMIT ?2) AS job ORDER BY job.id"
    ),
}


@uncancelled
async def bars_of_each(
    pipeline_ids: Sequence[int], limit: int, *, successful: bool = False
) -> dict[int, list[Bar]]:
    """The last builds of pipelines, or the last `successful` ones; up to `limit` of each, oldest first."""
    found: dict[int, list[Bar]] = {pipeline_id: [] for pipeline_id in pipeline_ids}
    if not found:
        return found
    statement = _OF_EACH[_dialect()]
    if successful:
        statement = statement.replace("ORDER BY id DESC", "AND status = 'success' ORDER BY id DESC")
    for row in await _rows(statement, [json.dumps(list(found)), limit]):
        bar = Bar(*row)
        found[bar.pipeline_id].append(bar)
    return found


_STATE = {
    # All that this connection has changed since it was opened, and a number for changes by others.
    "sqlite": "SELECT total_changes() || '.' || data_version FROM pragma_data_version",
    # The transactions that have ended.
    "postgres": "SELECT pg_current_snapshot()::text",
}


@uncancelled
async def state() -> str:
    """Another text after anything in the database has changed, for as long as it stays open."""
    return str((await _rows(_STATE[_dialect()], []))[0][0])


def _dialect() -> str:
    return connections.get("default").capabilities.dialect


async def _rows(statement: str, values: list[Any]) -> Sequence[Sequence[Any]]:
    """The rows of a statement whose values are ?1, ?2, … in its text."""
    if _dialect() == "postgres":
        statement = statement.replace("?", "$")
    _, rows = await connections.get("default").execute_query(statement, values)
    return rows
