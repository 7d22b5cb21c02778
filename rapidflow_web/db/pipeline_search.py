"""Finds pipelines by parts of their names, labels, repositories and files."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from rapidflow_web.db import labels
from rapidflow_web.db.database import uncancelled
from rapidflow_web.db.sql import rows
from rapidflow_web.db.visibility import current

LONGEST = 200
"""Characters that are searched for."""


@dataclass(frozen=True, slots=True)
class Found:
    """A pipeline with the id of its last build, and whether the last that succeeded or failed did fail."""

    id: int
    name: str
    restricted: bool
    repository: str | None
    path: str | None
    last_id: int | None
    failing: bool
    labels: tuple[str, ...]
    favourite: bool


# However many jobs there are, each of the last three is one look into an index.
_STATEMENT = (
    "SELECT pipeline.id, definition.name, pipeline.restricted, repository.url, pipeline.path, "
    "(SELECT MAX(id) FROM job WHERE pipeline_id = pipeline.id AND lead_id IS NULL), "
    "(SELECT MAX(id) FROM job WHERE pipeline_id = pipeline.id AND status = 'failed' AND lead_id IS NULL), "
    "(SELECT MAX(id) FROM job WHERE pipeline_id = pipeline.id AND status = 'success' AND lead_id IS NULL), "
    "pipeline.labels "
    "FROM pipeline JOIN definition ON definition.id = pipeline.definition_id "
    "LEFT JOIN repository ON repository.id = pipeline.repository_id WHERE pipeline.deleted_at IS NULL"
)


@uncancelled
async def found(text: str, favourites: Collection[int] = ()) -> list[Found]:
    """The pipelines that have each word of `text`, in any case, in name, label, clone URL or path.

    Favourites come first, then those that fail, each in the order of their names. A pipeline that is stored
    on the server has the clone URL of its last build.
    """
    where = "".join(f" AND {condition}" for condition in current().conditions("pipeline.id"))
    everything = await rows(f"{_STATEMENT}{where}")
    urls = await _clone_urls([row[5] for row in everything if row[5] is not None and row[3] is None])
    words = text.casefold().split()
    pipelines = [
        Found(
            row[0], row[1], bool(row[2]), row[3] or urls.get(row[5]), row[4], row[5],
            (row[6] or 0) > (row[7] or 0), labels.each(row[8]), row[0] in favourites,
        )
        for row in everything
    ]  # fmt: skip
    chosen = [one for one in pipelines if all(word in _text(one) for word in words)]
    return sorted(chosen, key=lambda one: (not one.favourite, not one.failing, one.name.casefold(), one.id))


def _text(one: Found) -> str:
    return "\n".join((one.name, *one.labels, one.repository or "", one.path or "")).casefold()


async def _clone_urls(job_ids: Collection[int]) -> dict[int, str | None]:
    if not job_ids:
        return {}
    numbers = ", ".join(str(int(number)) for number in job_ids)
    found = await rows(f"SELECT id, repo_name FROM job WHERE id IN ({numbers})")  # noqa: S608
    return {row[0]: row[1] for row in found}
