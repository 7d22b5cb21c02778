"""The branches and pull requests of a repository with their last builds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rapidflow_web.db import build_lists, pipelines, repositories
from rapidflow_web.db.build_lists import Build
from rapidflow_web.db.database import uncancelled
from rapidflow_web.db.sql import rows
from rapidflow_web.db.trigger_models import Repository
from rapidflow_web.db.visibility import current


@dataclass(frozen=True, slots=True)
class Branch:
    """A branch or pull request as it was last seen, with the last build of each pipeline, newest first."""

    ref: str
    value: str
    builds: tuple[Build, ...]


async def listed(repository: Repository, limit: int, offset: int) -> list[Branch]:
    """Up to `limit` branches and pull requests, those built last first, without the first `offset`.

    Builds of pipelines that may not be seen don't count.
    """
    named = await pipelines.stored_for(repository.url)
    shown = (await repositories.visible_pipelines_of([repository.id]))[repository.id]
    ids = [one.id for one in (*shown, *named) if current().shows(one.id)]
    refs = await _refs(repository.id, ids, limit, offset)
    last = await _last(repository.id, ids, [ref for ref, _ in refs])
    builds = await build_lists.of_ids([number for numbers in last.values() for number in numbers])
    return [
        Branch(
            ref, value, tuple(builds[id_] for id_ in sorted(last.get(ref, ()), reverse=True) if id_ in builds)
        )
        for ref, value in refs
    ]


@uncancelled
async def names(repository_id: int, most: int) -> list[str]:
    """Up to `most` branches of a repository as they were last seen."""
    found = await rows(
        "SELECT ref FROM repository_ref WHERE repository_id = ?1 AND ref LIKE 'refs/heads/%' "
        "ORDER BY ref LIMIT ?2",
        [repository_id, most],
    )
    return [row[0].removeprefix("refs/heads/") for row in found]


# However many jobs there are, each ref and pipeline is one look into the index (pipeline_id, ref, id).


@uncancelled
async def _refs(
    repository_id: int, pipeline_ids: Sequence[int], limit: int, offset: int
) -> list[tuple[str, str]]:
    last = (
        "SELECT MAX(id) FROM job WHERE ref = seen.ref AND lead_id IS NULL "  # noqa: S608
        f"AND pipeline_id IN ({_numbers(pipeline_ids)})"
    )
    statement = (
        f"SELECT ref, value FROM (SELECT ref, value, ({last}) AS last FROM repository_ref AS seen "  # noqa: S608
        "WHERE repository_id = ?1 AND ref NOT LIKE 'refs/tags/%') AS known "
        "ORDER BY COALESCE(last, 0) DESC, ref LIMIT ?2 OFFSET ?3"
    )
    return [(row[0], row[1]) for row in await rows(statement, [repository_id, limit, offset])]


@uncancelled
async def _last(repository_id: int, pipeline_ids: Sequence[int], refs: Sequence[str]) -> dict[str, list[int]]:
    if not refs:
        return {}
    places = ", ".join(f"?{number}" for number in range(2, len(refs) + 2))
    statement = (
        "SELECT seen.ref, (SELECT MAX(id) FROM job WHERE ref = seen.ref AND pipeline_id = pipeline.id "  # noqa: S608
        "AND lead_id IS NULL) "
        f"FROM repository_ref AS seen JOIN pipeline ON pipeline.id IN ({_numbers(pipeline_ids)}) "
        f"WHERE seen.repository_id = ?1 AND seen.ref IN ({places})"
    )
    found: dict[str, list[int]] = {}
    for ref, job_id in await rows(statement, [repository_id, *refs]):
        if job_id is not None:
            found.setdefault(ref, []).append(job_id)
    return found


def _numbers(ids: Sequence[int]) -> str:
    return ", ".join(str(int(number)) for number in ids) or "NULL"
