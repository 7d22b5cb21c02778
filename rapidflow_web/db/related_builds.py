"""What else there is beside a job: its neighbours, its retries, what is usual."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from statistics import median

from rapidflow_web.db import build_lists, jobs
from rapidflow_web.db.database import uncancelled
from rapidflow_web.db.models import Job
from rapidflow_web.db.sql import dialect, rows

_USUAL_OF = 10
_SILENT_OF = 20


@dataclass(frozen=True, slots=True)
class Streak:
    """Builds of the same `ref_kind`, a "branch", "tag" or "pull request"; "pipeline" without repository."""

    since: int | None
    """The first of the failures in a row of which this build is one."""
    last_good: int | None
    """The last build before it that succeeded, of those that are kept."""
    ref_kind: str


@dataclass(frozen=True, slots=True)
class Related:
    """Ids of other jobs; `ahead` are those that run before a pending one. `usual` is a duration in ms."""

    previous: int | None
    following: int | None
    original: int | None
    """What it is a retry of, unless that was removed."""
    retries: list[int]
    usual: int | None
    streak: Streak | None
    """Of a build that failed."""
    has_pipeline: bool
    """Whether the pipeline was not deleted."""


# One query: what it finds takes the database less time than each question takes on its way.
_RELATED = (
    "SELECT (SELECT MAX(id) FROM job WHERE pipeline_id = ?1 AND id < ?2 AND lead_id IS NULL), "
    "(SELECT MIN(id) FROM job WHERE pipeline_id = ?1 AND id > ?2 AND lead_id IS NULL), "
    "(SELECT id FROM job WHERE id = ?3), "
    "(SELECT {retries} FROM (SELECT id FROM job WHERE retry_of = ?2 ORDER BY id LIMIT 20) AS retry), "
    "(SELECT {durations} FROM (SELECT started_at, finished_at FROM job WHERE pipeline_id = ?1 "
    "AND status = 'success' AND lead_id IS NULL ORDER BY id DESC LIMIT {usual_of}) AS good), "
    "(SELECT deleted_at FROM pipeline WHERE id = ?1)"
)
_LIST = {"sqlite": "json_group_array({})", "postgres": "coalesce(json_agg({}), '[]')::text"}


@uncancelled
async def related(job: Job) -> Related:
    """What is related to a job, each by an index."""
    as_list = _LIST[dialect()].format
    statement = _RELATED.format(
        retries=as_list("id"), durations=as_list("finished_at - started_at"), usual_of=_USUAL_OF
    )
    values = [job.pipeline_id, job.id, job.retry_of]
    previous, following, original, retries, durations, deleted = (await rows(statement, values))[0]
    return Related(
        previous,
        following,
        original,
        json.loads(retries),
        _usual(json.loads(durations)),
        await streak(job) if job.status == "failed" else None,
        deleted is None,
    )


@uncancelled
async def streak(job: Job) -> Streak | None:
    """What came before a build of the same branch, tag or pull request, or pipeline without repository.

    None for uploads and parts, and where the source was not fetched. Retries build an old commit again, and
    uploads what nobody else has: neither says how a branch does. A retry stands where the build stands that
    it repeats.
    """
    if job.upload_id is not None or job.lead_id is not None:
        return None
    # Tags and pull requests have no branch.
    column = "branch" if job.branch is not None else "ref"
    ref: str | None = getattr(job, column)
    if ref is None and job.repo_name is not None:
        return None
    same = f"{column} = ?2" if ref is not None else "branch IS NULL AND ref IS NULL"
    values = [job.pipeline_id, ref] if ref is not None else [job.pipeline_id]
    at = job.id if job.retry_of is None else (await rows(_REPEATED, [job.id]))[0][0]
    # Each is one look into the index that begins with (pipeline_id, branch), or along (pipeline_id, ref, id).
    where = (
        f"SELECT {{}}(id) FROM job WHERE pipeline_id = ?1 AND {same} "  # noqa: S608
        "AND retry_of IS NULL AND upload_id IS NULL AND lead_id IS NULL AND id {} {} AND status = "
    ).format
    before = "<" if at == job.id else "<="
    last_good = (await rows(f"{where('MAX', before, int(at))}'success'", values))[0][0]
    since = None
    if job.status == "failed":
        failures = f"{where('MIN', '>', int(last_good or 0))}'failed' AND id <= {int(at)}"
        since = (await rows(failures, values))[0][0] or job.id
    return Streak(since, last_good, _kind(column, ref))


_REPEATED = (
    "WITH RECURSIVE repeated(id, retry_of) AS (SELECT id, retry_of FROM job WHERE id = ?1 UNION ALL "
    "SELECT job.id, job.retry_of FROM job JOIN repeated ON job.id = repeated.retry_of) "
    "SELECT MIN(coalesce(retry_of, id)) FROM repeated"
)
"""The id of the build that a retry repeats, perhaps through other retries."""


def _kind(column: str, ref: str | None) -> str:
    if ref is None:
        return "pipeline"
    if column == "branch" or ref.startswith("refs/heads/"):
        return "branch"
    return "tag" if ref.startswith("refs/tags/") else "pull request"


async def usual(pipeline_ids: list[int]) -> dict[int, int | None]:
    """How long builds of pipelines usually take, in ms: the median of the last successful ones."""
    found: dict[int, int | None] = {}
    for pipeline_id, bars in (
        await build_lists.bars_of_each(pipeline_ids, _USUAL_OF, successful=True)
    ).items():
        found[pipeline_id] = _usual([bar.duration for bar in bars])
    return found


def _usual(durations: Iterable[int | None]) -> int | None:
    known = [max(0, duration) for duration in durations if duration is not None]
    return int(median(known)) if known else None


@uncancelled
async def longest_silence(job: Job, step_id: int) -> int | None:
    """The longest, in ms, that a step was silent in the last builds of the pipeline that it succeeded in."""
    found = await rows(
        "SELECT MAX(step.longest_silence) FROM step JOIN step AS this ON this.id = ?1 WHERE step.job_id IN "
        "(SELECT id FROM job WHERE pipeline_id = ?2 AND id < ?3 ORDER BY id DESC LIMIT ?4) "
        "AND step.order_num = this.order_num AND step.content = this.content AND step.status = 'success'",
        [step_id, job.pipeline_id, job.id, _SILENT_OF],
    )
    return found[0][0]


@uncancelled
async def ahead(job_id: int, most: int) -> int:
    """How many pending jobs run before a pending one; no more than `most` are counted."""
    waiting = Job.filter(jobs.AWAITS_NO_APPROVAL, status="pending", unread=False, id__lt=job_id)
    return len(await waiting.limit(most).values_list("id", flat=True))


@uncancelled
async def running_in(groups: Collection[str]) -> dict[str, list[int]]:
    """What runs of each of these concurrency groups: a job, or a lead job and the part of it that does."""
    if not groups:
        return {}
    running = Job.filter(status="running", concurrency_group__in=list(groups))
    found: dict[str, list[int]] = {}
    for job in await running.order_by("id").only("id", "concurrency_group"):
        found.setdefault(job.concurrency_group or "", []).append(job.id)
    return found
