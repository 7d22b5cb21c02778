"""Jobs as the lists of the API show them: plain rows, which the ORM takes longer to make than all else."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from rapidflow_web.db.database import uncancelled
from rapidflow_web.db.sql import rows
from rapidflow_web.db.visibility import current


class JobRow(NamedTuple):
    """What lists show of a job; see `Job`."""

    id: int
    pipeline_id: int
    status: str
    branch: str | None
    repo_name: str | None
    language: str | None
    version: str | None
    folder: str | None
    expose_ports: bool
    cancelled: bool
    container_id: str | None
    created_at: int
    started_at: int | None
    finished_at: int | None
    error: str | None
    commit: str | None
    retry_of: int | None
    ports: dict[str, str] | None
    image: str | None
    started_by: str
    event: str
    ref: str | None
    title: str | None
    author: str | None
    pull_request: dict[str, object] | None
    superseded_by: int | None
    unread: bool
    approval: str | None
    concurrency_group: str | None
    parts: int | None
    lead_id: int | None
    part: str | None
    attempt: int | None
    node_name: str | None
    on_node: str | None


_COLUMNS = ", ".join(f'"{name}"' for name in JobRow._fields)
_FLAGS = [JobRow._fields.index(name) for name in ("expose_ports", "cancelled", "unread")]
_JSON = [JobRow._fields.index(name) for name in ("ports", "pull_request")]


@uncancelled
async def listed(
    *,
    before: int | None = None,
    limit: int = 50,
    pipeline_id: int | None = None,
    status: str | None = None,
    branch: str | None = None,
    lead_id: int | None = None,
) -> list[JobRow]:
    """Up to `limit` jobs, newest first, with ids below `before`; of one pipeline, status or branch.

    With `lead_id` these are the parts of one build, else no part is among them.
    """
    conditions, values = current().conditions("pipeline_id"), list[object]()
    if lead_id is None:
        conditions.append("lead_id IS NULL")
    for condition, value in (
        ("lead_id = ", lead_id),
        ("id < ", before),
        ("pipeline_id = ", pipeline_id),
        ("status = ", status),
        ("branch = ", branch),
    ):
        if value is not None:
            values.append(value)
            conditions.append(f"{condition}?{len(values)}")
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    # No value is in the text.
    statement = f"SELECT {_COLUMNS} FROM job {where} ORDER BY id DESC LIMIT {int(limit)}"  # noqa: S608
    return [_row(list(found)) for found in await rows(statement, values)]


def _row(values: list[Any]) -> JobRow:
    # SQLite has neither truth values nor JSON.
    for index in _FLAGS:
        values[index] = bool(values[index])
    for index in _JSON:
        if isinstance(values[index], str):
            values[index] = json.loads(values[index])
    return JobRow._make(values)
