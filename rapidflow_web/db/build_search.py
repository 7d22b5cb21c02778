"""Finds builds by parts of names, and suggests what there is: branches, and who starts builds.

Names are read from an index, one look for each, and compared here in any case; the jobs are then found by
whole names. So what a search costs depends on the number of names, hardly on that of builds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from rapidflow_web.db import build_lists
from rapidflow_web.db.build_lists import Build
from rapidflow_web.db.database import uncancelled
from rapidflow_web.db.sql import dialect, rows
from rapidflow_web.db.visibility import current

Column = Literal["branch", "started_by", "author"]
_BETWEEN_WORDS = re.compile(r"[._\s-]+")
_RECENT = 2_000
"""Builds whose branches and people are suggested."""


@dataclass(frozen=True, slots=True)
class Suggestions:
    """What recent builds have, that of the newest first."""

    branches: list[str]
    people: list[str]


@uncancelled
async def suggestions(most: int, pipeline_id: int | None = None) -> Suggestions:
    """Up to `most` branches and people of recent builds that may be seen, of all pipelines or of one."""
    # Builds are few before it is looked at who may see them: nobody's restrictions have a table walked.
    where = f"WHERE pipeline_id = {int(pipeline_id)}" if pipeline_id is not None else ""
    seen = " AND ".join(current().conditions("recent.pipeline_id")) or "1 = 1"
    found = await rows(
        "SELECT recent.id, recent.branch, recent.started_by, recent.author FROM "  # noqa: S608
        f"(SELECT id, pipeline_id, branch, started_by, author FROM job {where} ORDER BY id DESC "
        f"LIMIT {_RECENT}) AS recent WHERE {seen}"
    )
    found = sorted((tuple(row) for row in found), reverse=True, key=lambda row: row[0])
    branches = dict.fromkeys(row[1] for row in found if row[1] is not None)
    people = dict.fromkeys(name for row in found for name in row[2:] if name is not None)
    return Suggestions([*branches][:most], [*people][:most])


async def _names(column: Column, pipeline_id: int | None = None) -> list[str]:
    """What all builds have in a column, in its order, of all pipelines or branches of one.

    Also of those that may not be seen: builds are found by what this gives, it is shown to nobody.
    """
    of_one = f"pipeline_id = {int(pipeline_id)}" if pipeline_id is not None else "1 = 1"
    statement = (
        f"WITH RECURSIVE names(name) AS (SELECT MIN({column}) FROM job WHERE {of_one} UNION ALL "  # noqa: S608
        f"SELECT (SELECT MIN({column}) FROM job WHERE {of_one} AND {column} > names.name) FROM names "
        "WHERE names.name IS NOT NULL) SELECT name FROM names WHERE name IS NOT NULL"
    )
    return [row[0] for row in await rows(statement)]


def having(part: str, found: Sequence[str]) -> list[str]:
    """Those of the names that have `part` in them, in any case."""
    part = part.casefold()
    return [name for name in found if part in name.casefold()]


def _folded(name: str) -> str:
    """A name in the form in which that of a user and that in commits are compared."""
    return _BETWEEN_WORDS.sub(" ", name.partition("@")[0]).strip().casefold()


def of_author(user: str, authors: Sequence[str]) -> list[str]:
    """Those of the authors who are a user by name: `ann.lee@example.org` is `Ann Lee`, and not `Ann`."""
    wanted = _folded(user)
    return [name for name in authors if wanted and _folded(name) == wanted]


@dataclass(slots=True)
class _Where:
    """Conditions of a statement, and the values that it takes."""

    conditions: list[str]
    values: list[object] = field(default_factory=list[object])

    def add(self, text: str, value: object) -> None:
        """One more, with ? for the value."""
        self.values.append(value)
        self.conditions.append(text.replace("?", f"?{len(self.values)}"))

    def __str__(self) -> str:
        return f"WHERE {' AND '.join(self.conditions)}" if self.conditions else ""


@uncancelled
async def found(
    limit: int,
    *,
    status: str | None = None,
    pipeline: str | None = None,
    pipeline_id: int | None = None,
    branch: str | None = None,
    who: str | None = None,
    user: str | None = None,
    since: int | None = None,
    before: int | None = None,
) -> list[Build]:
    """Up to `limit` builds, newest first, with ids below `before`.

    `pipeline`, `branch` and `who` are parts of names; `who` starts a build or wrote its commit, and so did
    `user`, who is one by the whole name. `since` is a time in ms.
    """
    where = _Where(["job.lead_id IS NULL", *current().conditions("job.pipeline_id")])
    if pipeline_id is not None:
        where.add("job.pipeline_id = ?", pipeline_id)
    if status is not None:
        where.add("job.status = ?", status)
    if before is not None:
        where.add("job.id < ?", before)
    if since is not None:
        where.add("job.id >= (SELECT id FROM job WHERE created_at >= ? ORDER BY created_at LIMIT 1)", since)
    if pipeline is not None:
        where.add(f"job.pipeline_id IN ({_ELEMENTS[dialect()].format('bigint')})", await _pipelines(pipeline))
    texts = _ELEMENTS[dialect()].format("text")
    if branch is not None:
        matching = having(branch, await _names("branch", pipeline_id))
        if not matching:
            return []  # to look at all builds for none takes longest
        where.add(f"job.branch IN ({texts})", json.dumps(matching))
    if user is not None:
        wrote = of_author(user, await _names("author"))
        where.add(f"(job.started_by IN ({texts}) OR job.author IN ({texts}))", json.dumps([user, *wrote]))
    if who is not None:
        people = having(who, await _names("started_by")) + having(who, await _names("author"))
        if not people:
            return []
        where.add(f"(job.started_by IN ({texts}) OR job.author IN ({texts}))", json.dumps(people))
    statement = f"SELECT job.id FROM job {where} ORDER BY job.id DESC LIMIT {int(limit)}"  # noqa: S608
    ids = [row[0] for row in await rows(statement, where.values)]
    builds = await build_lists.of_ids(ids)
    return [builds[number] for number in ids if number in builds]


@uncancelled
async def last_of_branches(
    pipeline_id: int,
    limit: int,
    before: int | None = None,
    *,
    status: str | None = None,
    branch: str | None = None,
) -> list[Build]:
    """The last build of each branch of a pipeline, up to `limit`, those built last first.

    Of these only those with a `status`, and with `branch` as a part of the branch's name.
    """
    found = await rows(
        "SELECT branch, MAX(id) FROM job WHERE pipeline_id = ?1 AND branch IS NOT NULL AND lead_id IS NULL "
        "GROUP BY branch",
        [pipeline_id],
    )
    last: dict[str, int] = {row[0]: row[1] for row in found}
    ids = sorted((last[name] for name in having(branch or "", [*last])), reverse=True)
    ids = [number for number in ids if before is None or number < before]
    if status is not None and ids:
        where = _Where([])
        where.add("status = ?", status)
        where.add(f"id IN ({_ELEMENTS[dialect()].format('bigint')})", json.dumps(ids))
        alike = await rows(f"SELECT id FROM job {where}", where.values)  # noqa: S608
        ids = sorted((row[0] for row in alike), reverse=True)
    builds = await build_lists.of_ids(ids[:limit])
    return [builds[number] for number in ids[:limit] if number in builds]


_ELEMENTS = {
    "sqlite": "SELECT value FROM json_each(?)",
    "postgres": "SELECT value::{} FROM json_array_elements_text(?::json)",
}


async def _pipelines(part: str) -> str:
    """The ids of pipelines with a part of a name, also of deleted ones, as JSON."""
    found = await rows(
        "SELECT pipeline.id, definition.name FROM pipeline "
        "JOIN definition ON definition.id = pipeline.definition_id"
    )
    part = part.casefold()
    return json.dumps([row[0] for row in found if part in row[1].casefold()])
