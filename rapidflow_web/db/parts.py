"""The parts of builds of several jobs.

A part is a step of the lead job, of the type `job`, with `Step.part`. Once it is ready to run it is a job of
its own, too, whose `lead_id` and `part` say of what; each attempt is another job.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from tortoise.transactions import in_transaction

from rapidflow_web.db import job_steps, jobs, outbox
from rapidflow_web.db.database import patient, uncancelled
from rapidflow_web.db.models import Job, Step
from rapidflow_web.db.sql import rows
from rapidflow_web.pipeline.definition import StepDefinition

FINAL = ("success", "forgiven", "failed", "cancelled", "skipped")
"""The states of parts with which nothing more will happen."""


@dataclass(frozen=True, slots=True)
class PartRow:
    """A part as it is stored.

    `state` is "waiting", "waits_for_approval", "running" or one of `FINAL`. `own_if` says that its own `if`
    left it out. `left_out` has, by their numbers, the steps that its job leaves out and why. `job_id` is its
    last attempt, of which `attempt` is the number; `approved_by` who let it go.
    """

    step_id: int
    name: str
    needs: tuple[str, ...] = ()
    state: str = "waiting"
    reason: str | None = None
    job_id: int | None = None
    attempt: int = 1
    approved_by: str | None = None
    own_if: bool = False
    left_out: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def final(self) -> bool:
        """Whether nothing more will happen with it."""
        return self.state in FINAL

    @property
    def satisfies(self) -> bool:
        """Whether what needs it may run, once it is final."""
        return self.state in ("success", "forgiven") or (self.state == "skipped" and self.own_if)

    def stored(self) -> dict[str, object]:
        """What `Step.part` has of it."""
        return {
            "job_id": self.job_id,
            "attempt": self.attempt,
            "needs": list(self.needs),
            "state": self.state,
            "reason": self.reason,
            "approved_by": self.approved_by,
            "own_if": self.own_if,
            "left_out": dict(self.left_out),
        }


@dataclass(frozen=True, slots=True)
class Attempt:
    """A job that is an attempt of a part. `exit_code` is that of the step that failed.

    `found` is why it failed, as JSON (see `logs.failure`).
    """

    job_id: int
    status: str
    error: str | None
    cause: str | None
    exit_code: int | None
    started_at: int | None
    finished_at: int | None
    concurrency_group: str | None
    found: str | None = None

    @property
    def id(self) -> int:
        """The number of the job."""
        return self.job_id

    @property
    def failure(self) -> dict[str, Any] | None:
        """Why it failed."""
        return None if self.found is None else json.loads(self.found)


def job_of(part: str) -> str:
    """The name of the job that a part by this name is of."""
    return part.partition(" (")[0]


def part_row(step: Step) -> PartRow:
    """The part that a step of a lead job stands for."""
    stored = cast(dict[str, Any], step.part or {})
    return PartRow(
        step.id,
        step.content,
        tuple(stored.get("needs", ())),
        stored.get("state", "waiting"),
        stored.get("reason"),
        stored.get("job_id"),
        stored.get("attempt", 1),
        stored.get("approved_by"),
        stored.get("own_if", False),
        stored.get("left_out", {}),
    )


@uncancelled
async def of_lead(lead_id: int) -> list[PartRow]:
    """The parts of a lead job, in their order."""
    return [part_row(step) for step in await job_steps.of_job(lead_id)]


@uncancelled
async def attempts(lead_id: int) -> dict[int, Attempt]:
    """The jobs of all attempts of the parts of a lead job, by their ids."""
    found = await rows(
        "SELECT job.id, job.status, job.error, job.cause, (SELECT exit_code FROM step WHERE job_id = job.id "
        "AND status = 'failed' AND exit_code IS NOT NULL ORDER BY order_num LIMIT 1), "
        "job.started_at, job.finished_at, job.concurrency_group, job.failure FROM job WHERE lead_id = ?1 "
        "ORDER BY id",
        [lead_id],
    )
    return {row[0]: Attempt(*row) for row in found}


@dataclass(frozen=True, slots=True)
class Progress:
    """With how many parts of a build nothing more will happen, and how many wait for an approval."""

    total: int
    done: int
    asking: int


@uncancelled
async def progress(job_ids: Sequence[int]) -> dict[int, Progress]:
    """How far builds of several jobs are; nothing of other builds."""
    if not job_ids:
        return {}
    numbers = ", ".join(str(int(number)) for number in job_ids)
    found = await rows(
        "SELECT job_id, COUNT(*), COUNT(CASE WHEN skipped IS NOT NULL "  # noqa: S608, only numbers are in it
        "OR status IN ('success', 'failed', 'cancelled') THEN 1 END), "
        # Within a reason or a name, the quotes would be escaped.
        "COUNT(CASE WHEN REPLACE(CAST(part AS text), ' ', '') LIKE '%\"state\":\"waits_for_approval\"%' "
        "THEN 1 END) "
        f"FROM step WHERE job_id IN ({numbers}) AND type = 'job' GROUP BY job_id",
    )
    return {row[0]: Progress(*row[1:]) for row in found}


@uncancelled
async def attempts_of(lead_id: int, part: str) -> list[Job]:
    """The jobs of all attempts of one part, in their order, with `id`, `status` and `attempt`."""
    query = Job.filter(lead_id=lead_id, part=part).order_by("attempt")
    return await query.only("id", "status", "attempt")


@patient
@uncancelled
async def store(part: PartRow, attempt: Attempt | None = None) -> None:
    """Stores a part that has changed, with the times and the exit code of its attempt. Safe to call again."""
    await _store(part, attempt)


async def _store(part: PartRow, attempt: Attempt | None) -> None:
    stored = part.stored()
    values: dict[str, Any] = {
        "part": stored,
        "status": jobs.part_status(stored),
        "skipped": part.reason if part.state == "skipped" else None,
    }
    if attempt is not None:
        code = 0 if attempt.status == "success" else attempt.exit_code
        values |= {"started_at": attempt.started_at, "finished_at": attempt.finished_at, "exit_code": code}
    await Step.filter(id=part.step_id).update(**values)


@patient
@uncancelled
async def end_all(lead_id: int, reason: str) -> None:
    """Ends all parts of a lead job with which something would still happen. Safe to call again."""
    for step in await Step.filter(job_id=lead_id, type="job"):
        if not (part := part_row(step)).final:
            await _store(replace(part, state="cancelled", reason=reason), None)


@patient
@uncancelled
async def begin(
    part: PartRow, fields: Mapping[str, Any], steps: Sequence[StepDefinition], environment: Mapping[str, str]
) -> PartRow:
    """Stores the job of a part's next attempt, and returns the part with it. Safe to call again.

    `fields` are columns of `Job`.
    """
    number = part.attempt
    async with in_transaction():
        job = await Job.get_or_none(lead_id=fields["lead_id"], part=part.name, attempt=number)
        if job is None:
            job = await jobs.create({**fields, "part": part.name, "attempt": number}, steps, environment)
        group = (job.concurrency_group or "").partition(": ")[2]
        reason = f"waits for its turn in the concurrency group '{group}'" if group else "waits for a slot"
        part = replace(part, state="waiting", reason=reason, job_id=job.id)
        await _store(part, None)
    outbox.wake()
    return part


@uncancelled
async def approve(step_id: int, by: str) -> bool:
    """Lets a part go that waits for an approval; False where it does not wait for one."""
    return await _decide(step_id, approved_by=by, state="waiting", reason=None)


@uncancelled
async def reject(step_id: int, by: str) -> bool:
    """Ends a part that waits for an approval; False where it does not wait for one."""
    return await _decide(step_id, state="cancelled", reason=f"rejected by {by}")


async def _decide(step_id: int, **changes: Any) -> bool:
    async with in_transaction():
        step = await Step.filter(id=step_id).select_for_update().get_or_none()
        if step is None or (part := part_row(step)).state != "waits_for_approval":
            return False
        await _store(replace(part, **changes), None)
    return True
