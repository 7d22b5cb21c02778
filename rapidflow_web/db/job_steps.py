"""Queries on the steps of jobs."""

from __future__ import annotations

from collections.abc import Sequence

from rapidflow_web.db.database import now_ms, patient, uncancelled
from rapidflow_web.db.models import Step
from rapidflow_web.db.sql import changed
from rapidflow_web.db.visibility import if_visible
from rapidflow_web.errors import NotFound


@uncancelled
async def existing(step_id: int) -> Step:
    """The step with its job. Raises `NotFound`."""
    step = await Step.get_or_none(id=step_id).select_related("job")
    if step is None or not if_visible(step.job):
        raise NotFound(f"there is no step {step_id}")
    return step


@uncancelled
async def of_job(job_id: int) -> list[Step]:
    """The job's steps in their order."""
    return await Step.filter(job_id=job_id).order_by("order_num")


@patient
@uncancelled
async def begin(step_id: int, at: int) -> None:
    """Notes that a step runs. `at` is in milliseconds. Safe to call again."""
    await Step.filter(id=step_id, status="pending").update(status="running", started_at=at)


@patient
@uncancelled
async def end(
    step_id: int,
    status: str,
    exit_code: int | None,
    at: int,
    longest_silence: int | None = None,
    following: int | None = None,
) -> None:
    """Notes how a step ended, and with it that the one with the id `following` runs; None: none does.

    `at` and `longest_silence` are in milliseconds. Safe to call again.
    """
    await changed(
        """UPDATE step SET
        started_at = CASE id WHEN ?1 THEN started_at ELSE ?4 END,
        finished_at = CASE id WHEN ?1 THEN ?4 ELSE finished_at END,
        status = CASE id WHEN ?1 THEN ?2 ELSE 'running' END,
        exit_code = CASE id WHEN ?1 THEN ?3 ELSE exit_code END,
        longest_silence = CASE id WHEN ?1 THEN ?5 ELSE longest_silence END
        WHERE (id = ?1 AND status = 'running') OR (id = ?6 AND status = 'pending')""",
        [step_id, status, exit_code, at, longest_silence, following],
    )


@patient
@uncancelled
async def end_running(job_id: int, status: str) -> None:
    """Gives the step that runs its final status, in a job that ends, or has ended, without its execution."""
    await Step.filter(job_id=job_id, status="running").update(status=status, finished_at=now_ms())


@patient
@uncancelled
async def skip(step_ids: Sequence[int], reason: str) -> None:
    """Notes why steps that did not run were left out. Safe to call again."""
    await Step.filter(id__in=step_ids, status="pending").update(skipped=reason)
