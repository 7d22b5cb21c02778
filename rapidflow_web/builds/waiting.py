"""What keeps a job from being claimed."""

from __future__ import annotations

from rapidflow_web.db.models import Job


def waits_for(job: Job) -> str | None:
    """What a pending job waits for besides a slot, in a few words; None for nothing."""
    if job.status != "pending":
        return None
    if job.unread:
        return "its definition to be read from the commit"
    if job.approval == "waiting":
        return f"an approval of the commit {job.commit}"
    if job.concurrency_group is not None:
        return f"its turn in the concurrency group '{job.concurrency_group.partition(': ')[2]}'"
    return None
