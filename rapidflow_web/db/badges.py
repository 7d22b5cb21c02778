"""What badges show."""

from __future__ import annotations

from rapidflow_web.db.database import uncancelled
from rapidflow_web.db.models import Job, Pipeline


@uncancelled
async def status_of(pipeline_id: int, branch: str | None) -> str | None:
    """How the newest build of a branch ended, or without such its present status; None if there is no build.

    Without a branch, that is the default branch of the repository, or else any. Builds of working trees and
    of commits for which nothing vouches do not count. None also for pipelines that were deleted or are
    restricted.
    """
    pipeline = await Pipeline.get_or_none(id=pipeline_id).select_related("repository")
    if pipeline is None or pipeline.deleted_at is not None or pipeline.restricted:
        return None
    if branch is None and pipeline.repository is not None:
        branch = pipeline.repository.default_branch
    query = Job.filter(pipeline_id=pipeline_id, untrusted=False, upload_id__isnull=True, lead_id__isnull=True)
    if branch is not None:
        query = query.filter(branch=branch)
    for wanted in (("success", "failed"), ("pending", "running", "cancelled")):
        newest = await query.filter(status__in=wanted).order_by("-id").first().only("id", "status")
        if newest is not None:
            return newest.status
    return None
