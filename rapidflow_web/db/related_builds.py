"""What else there is beside a job: its neighbours, its retries, what is usual."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from tortoise.expressions import Q

from rapidflow_web.db import build_lists
from rapidflow_web.db.database import uncancelled
from rapidflow_web.db.models import Job
from rapidflow_web.db.sql import rows

_USUAL_OF = 10
_SILENT_OF = 20


@dataclass(frozen=True, slots=True)
class Related:
    """Ids of other jobs; `ahead` are those that run before a pending one. `usual` is a duration in ms."""

    previous: int | None
    following: int | None
    retries: list[int]
    usual: int | None


async def related(job: Job) -> Related:
    """What is related to a job, each by an index."""
    before = await build_lists.newest(1, pipeline_id=job.pipeline_id, before=job.id)
    after = await build_lists.newest(1, pipeline_id=job.pipeline_id, after=job.id)
    return Related(
        before[0].id if before else None,
        after[0].id if after else None,
        await _retries(job.id),
        (await usual([job.pipeline_id]))[job.pipeline_id],
    )


async def usual(pipeline_ids: list[int]) -> dict[int, int | None]:
    """How long builds of pipelines usually take, in ms: the median of the last successful ones."""
    found: dict[int, int | None] = {}
    for pipeline_id, bars in (
        await build_lists.bars_of_each(pipeline_ids, _USUAL_OF, successful=True)
    ).items():
        durations = [bar.duration for bar in bars if bar.duration is not None]
        found[pipeline_id] = int(median(durations)) if durations else None
    return found


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
async def _retries(job_id: int) -> list[int]:
    found = await Job.filter(retry_of=job_id).order_by("id").limit(20).values_list("id", flat=True)
    return [int(str(number)) for number in found]


@uncancelled
async def ahead(job_id: int, most: int) -> int:
    """How many pending jobs run before a pending one; no more than `most` are counted."""
    ready = Q(approval__isnull=True) | Q(approval="approved")
    waiting = Job.filter(ready, status="pending", unread=False, id__lt=job_id)
    return len(await waiting.limit(most).values_list("id", flat=True))


@uncancelled
async def runs_in_group(group: str) -> int | None:
    """The build of a concurrency group that runs."""
    found = await Job.filter(status="running", concurrency_group=group).first().only("id")
    return found.id if found is not None else None
