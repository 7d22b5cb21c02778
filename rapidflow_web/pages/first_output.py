"""What a build does before its first output, as its empty log says it."""

from __future__ import annotations

from collections.abc import Sequence

from rapidflow_web.builds.timeline import Phase
from rapidflow_web.db.models import Job
from rapidflow_web.pages.filters import capitalize_first

_DOING = {
    "image": "looking for the image {}",
    "source": "fetching the source",
    "container": "starting the container",
    "services": "starting the services",
}
"""The phases that say nothing of themselves, or only what they are about."""
_JOBS = "Starting the first jobs"


def before_first_output(job: Job, phases: Sequence[Phase], waits: str | None) -> list[str]:
    """What a build does or waits for that has begun no step, each a line; none for one that has ended."""
    if job.cancelled or job.status not in ("pending", "running"):
        return []
    if job.status == "pending":
        if job.unread:
            waits = "Reading the definition from the commit"
        elif job.approval == "waiting":
            waits = "Waiting for an approval"
        return [_line(waits or ("Waiting for a free slot" if job.parts is None else _JOBS))]
    if job.parts is not None:
        return [_line(_JOBS)]
    unfinished = [phase for phase in phases if phase.finished_at is None and not phase.failed]
    return [_line(_words(phase, job)) for phase in unfinished] or ["Starting the first step…"]


def _words(phase: Phase, job: Job) -> str:
    doing = _DOING.get(phase.name, "waiting")
    if not phase.detail or phase.detail == job.image:
        return doing.format(job.image or "")
    return phase.detail


def _line(text: str) -> str:
    return capitalize_first(text.strip().rstrip(".…")) + "…"
