"""Queries on repositories, their refs and their pipelines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tortoise.expressions import Q
from tortoise.transactions import in_transaction

from rapidflow_web.db.database import now_ms, patient, uncancelled
from rapidflow_web.db.models import Pipeline
from rapidflow_web.db.sql import rows
from rapidflow_web.db.trigger_models import Repository, RepositoryRef
from rapidflow_web.db.visibility import current
from rapidflow_web.errors import NotFound

_BATCH = 500


@uncancelled
async def begin(url: str, forge: str, hook_key: str) -> Repository:
    """Stores a repository that is not there for anybody until `settle` says so."""
    now = now_ms()
    return await Repository.create(
        url=url,
        forge=forge,
        default_branch="",
        hook_key=hook_key,
        created_at=now,
        deleted_at=now,
    )


@uncancelled
async def settle(repository_id: int, refs: Mapping[str, str], **fields: Any) -> None:
    """Lets a repository be found from now on, with its refs as they are now; for a transaction."""
    await Repository.filter(id=repository_id).update(deleted_at=None, **fields)
    every = list(refs.items())
    for start in range(0, len(every), _BATCH):
        # Not all at once: there may be tens of thousands, and objects of the ORM take their time.
        await RepositoryRef.bulk_create(
            RepositoryRef(repository_id=repository_id, ref=ref, value=value)
            for ref, value in every[start : start + _BATCH]
        )


@uncancelled
async def with_url(url: str) -> Repository | None:
    """The repository with this URL."""
    return await Repository.filter(url=url, deleted_at__isnull=True).first()


@uncancelled
async def with_hook(key: str) -> Repository | None:
    """The repository whose webhook has this key."""
    return await Repository.get_or_none(hook_key=key, deleted_at__isnull=True)


@patient
@uncancelled
async def get(repository_id: int) -> Repository | None:
    """The repository; None where there is none, or none any more."""
    return await Repository.get_or_none(id=repository_id, deleted_at__isnull=True)


async def existing(repository_id: int) -> Repository:
    """The repository. Raises `NotFound`, also where none of its pipelines may be seen."""
    repository = await get(repository_id)
    if repository is None or not await _visible([repository_id]):
        raise NotFound(f"there is no repository {repository_id}")
    return repository


@patient
@uncancelled
async def of_pipeline(pipeline_id: int) -> Repository | None:
    """The repository in which a pipeline's definition stands, also one that was removed."""
    return await Repository.filter(pipelines__id=pipeline_id).first()


@uncancelled
async def listed(*, before: int | None = None, limit: int = 50) -> list[Repository]:
    """Up to `limit` repositories, newest first, with ids below `before`."""
    query = Repository.filter(deleted_at__isnull=True)
    if not current().is_unrestricted:
        query = query.filter(id__in=sorted(await _visible()))
    if before is not None:
        query = query.filter(id__lt=before)
    return await query.order_by("-id").limit(limit)


@uncancelled
async def _visible(among: Sequence[int] | None = None) -> set[int]:
    """The repositories with a pipeline that may be seen; who sees all pipelines also sees those without."""
    if current().is_unrestricted:
        return set(among or ())
    query = Pipeline.filter(deleted_at__isnull=True, repository_id__not_isnull=True)
    query = query.filter(**current().filters("id"))
    query = query.filter(repository_id__in=among) if among is not None else query
    found = await query.distinct().values_list("repository_id", flat=True)
    return {int(str(one)) for one in found}


@patient
@uncancelled
async def update(repository_id: int, **fields: Any) -> None:
    """Sets columns."""
    await Repository.filter(id=repository_id).update(**fields)


@uncancelled
async def renew_secret(repository: Repository, until: int) -> bool:
    """Has the present secret of the webhook accepted `until` this time, in ms.

    False if another secret was made since `repository` was read.
    """
    known = repository.old_secret_until
    is_known = Q(old_secret_until__isnull=True) if known is None else Q(old_secret_until=known)
    return await Repository.filter(is_known, id=repository.id).update(old_secret_until=until) > 0


@uncancelled
async def delete(repository_id: int) -> None:
    """Hides a repository with its pipelines; events, jobs and logs stay."""
    now = now_ms()
    async with in_transaction():
        await Repository.filter(id=repository_id).update(deleted_at=now)
        await Pipeline.filter(repository_id=repository_id, deleted_at__isnull=True).update(deleted_at=now)
        await RepositoryRef.filter(repository_id=repository_id).delete()


@uncancelled
async def due(now: int) -> list[Repository]:
    """The repositories that are to be looked at by now, in ms; the longest due first."""
    # One that was looked at later than now has its time from a clock that was wrong.
    is_due = Q(next_poll_at__lte=now) | Q(polled_at__gt=now)
    query = Repository.filter(is_due, deleted_at__isnull=True, poll__isnull=False)
    return await query.order_by("next_poll_at").limit(100)


@uncancelled
async def look_again_at_failed(now: int) -> None:
    """Makes repositories due now whose last poll failed, and which are polled less often since."""
    query = Repository.filter(deleted_at__isnull=True, poll__isnull=False, poll_error__isnull=False)
    await query.update(next_poll_at=now)


@patient
@uncancelled
async def refs_of(repository_id: int) -> dict[str, str]:
    """Each ref as it was last seen."""
    found = await rows("SELECT ref, value FROM repository_ref WHERE repository_id = ?1", [repository_id])
    return {row[0]: row[1] for row in found}


@uncancelled
async def value_of(repository_id: int, ref: str) -> str | None:
    """A ref as it was last seen; None where it was not there."""
    row = await RepositoryRef.filter(repository_id=repository_id, ref=ref).first()
    return row.value if row is not None else None


async def saw(repository_id: int, ref: str, value: str | None) -> None:
    """Notes what a ref is, or with None that it is gone; for a transaction."""
    if value is None:
        await RepositoryRef.filter(repository_id=repository_id, ref=ref).delete()
    elif not await RepositoryRef.filter(repository_id=repository_id, ref=ref).update(value=value):
        await RepositoryRef.create(repository_id=repository_id, ref=ref, value=value)


@patient
@uncancelled
async def pipelines_of(repository_id: int) -> list[Pipeline]:
    """The pipelines whose definitions stand in a repository, with these; the oldest first."""
    query = Pipeline.filter(repository_id=repository_id, deleted_at__isnull=True)
    return await query.order_by("id").select_related("definition")


@uncancelled
async def visible_pipelines_of(repository_ids: Sequence[int]) -> dict[int, list[Pipeline]]:
    """As `pipelines_of`, for several repositories at once, without those that may not be seen."""
    query = Pipeline.filter(repository_id__in=list(repository_ids), deleted_at__isnull=True)
    query = query.filter(**current().filters("id"))
    found: dict[int, list[Pipeline]] = {repository_id: [] for repository_id in repository_ids}
    for pipeline in await query.order_by("id").select_related("definition"):
        found[pipeline.repository_id or 0].append(pipeline)
    return found


@uncancelled
async def visible_problems_of(found: Sequence[Repository]) -> dict[int, list[dict[str, str]]]:
    """What is wrong with their definition files, without those of pipelines that may not be seen."""
    problems = {one.id: one.problems for one in found}
    if current().is_unrestricted or not any(problems.values()):
        return problems
    known = await Pipeline.filter(repository_id__in=list(problems)).only("id", "repository_id", "path")
    hidden = {(one.repository_id, one.path) for one in known if not current().shows(one.id)}
    return {
        repository_id: [problem for problem in listed if (repository_id, problem["path"]) not in hidden]
        for repository_id, listed in problems.items()
    }
