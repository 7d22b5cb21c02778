"""What comes next for the parts of a build: pure functions of its definition and of what is stored.

`follow` takes over how the job of a part stands; `judge` says of a part that has no job whether it runs now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from rapidflow_web.builds import reasons
from rapidflow_web.builds.facts import values_of
from rapidflow_web.db.parts import Attempt, PartRow
from rapidflow_web.pipeline.definition import JobDefinition, ParsedPipeline, Part
from rapidflow_web.pipeline.triggers import Facts

Rows = Mapping[str, PartRow]
"""The parts of a build by their names."""

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a part that has no job: it waits, is asked for, is left out, or runs now."""

    kind: Literal["wait", "ask", "skip", "run"]
    reason: str | None = None
    own_if: bool = False


@dataclass(frozen=True, slots=True)
class Needs:
    """Of the jobs that a job needs, those that have not ended, and those that don't satisfy it."""

    unfinished: tuple[str, ...]
    unmet: tuple[str, ...]


def follow(row: PartRow, job: JobDefinition, attempt: Attempt | None, ended_by: str | None) -> PartRow:
    """The part as its job stands now. `ended_by` says why the server ends its job, where it does.

    One that runs again has no job, and the number of the next attempt.
    """
    if attempt is None:
        return replace(row, state="failed", reason="its job is gone")
    if attempt.status == "pending":
        return row
    if attempt.status == "running":
        return replace(row, state="running", reason=None)
    if attempt.status == "success":
        return replace(row, state="success", reason=None)
    if attempt.status == "cancelled":
        return replace(row, state="cancelled", reason=ended_by or "it was cancelled")
    error = attempt.error or "it failed"
    # What the server stopped has an exit code, too, which its author did not choose.
    exit_code = attempt.exit_code if reasons.exit_in(error) else None
    retry = job.retry
    if (
        retry is not None
        and ended_by is None
        and row.attempt <= retry.max
        and retry.fits(exit_code, attempt.cause)
    ):
        reason = f"attempt {row.attempt} of {retry.max + 1} failed: {error}"
        return replace(row, state="waiting", reason=reason, job_id=None, attempt=row.attempt + 1)
    if job.allow_failure is not None and job.allow_failure.forgives(exit_code, attempt.cause):
        return replace(row, state="forgiven", reason=f"the failure is allowed: {error}")
    return replace(row, state="failed", reason=error)


def needs_of(parsed: ParsedPipeline, job: JobDefinition, rows: Rows) -> Needs:
    """How the jobs stand that a job needs."""
    ended = {need: [rows[part.name] for part in _job(parsed, need.job).parts] for need in job.needs}
    return Needs(
        tuple(need.job for need, found in ended.items() if not all(row.final for row in found)),
        tuple(
            need.job
            for need, found in ended.items()
            if not need.optional and not all(row.satisfies for row in found)
        ),
    )


def judge(job: JobDefinition, part: Part, needs: Needs, rows: Rows, facts: Facts) -> Verdict:
    """What becomes of a part that is not final and has no job."""
    if needs.unfinished:
        return Verdict("wait", f"waits for {_listed(needs.unfinished)}")
    condition = job.condition
    if needs.unmet and (condition is None or not condition.asks_for_failures):
        return Verdict("skip", f"needs {_listed(needs.unmet)}, which did not succeed")
    if condition is not None and not condition.fits(values_of(facts, part.cell), failed=bool(needs.unmet)):
        return Verdict("skip", f"its 'if' does not hold: {condition.text}", own_if=True)
    if job.approval and rows[part.name].approved_by is None:
        return Verdict("ask", "waits for an approval")
    if job.max_parallel is not None:
        busy = sum(1 for one in job.parts if rows[one.name].job_id is not None and not rows[one.name].final)
        if busy >= job.max_parallel:
            return Verdict("wait", f"at most {job.max_parallel} parts of {job.name} run at once")
    return Verdict("run")


def failed_first(job: JobDefinition, rows: Rows) -> str | None:
    """The part of a job with `fail_fast` whose failure ends the others; None while there is none."""
    if not job.fail_fast:
        return None
    return next((part.name for part in job.parts if rows[part.name].state == "failed"), None)


def blamed(rows: Sequence[PartRow]) -> PartRow | None:
    """The part that is named as why a build failed: the first that failed, else that was ended."""
    return next((row for state in ("failed", "cancelled") for row in rows if row.state == state), None)


def outcome(rows: Sequence[PartRow]) -> tuple[str, str | None]:
    """The status and error of a build of which all parts are final."""
    first = blamed(rows)
    if first is None:
        return "success", None
    failed = [row for row in rows if row.state == "failed"]
    error = f"{first.name}: {first.reason}"
    if len(failed) > 1:
        error += f" ({len(failed)} parts failed: {_listed([row.name for row in failed])})"
    return "failed", error


def again(parsed: ParsedPipeline, rows: Rows) -> dict[str, PartRow]:
    """The parts that need not run again because they succeeded, and so did all that they needed."""
    kept: dict[str, PartRow] = {}
    whole: dict[str, bool] = {}
    waiting = list(parsed.jobs)
    while waiting:
        # There is no circle, so each round has one whose needs are known.
        job = next(one for one in waiting if all(need.job in whole for need in one.needs))
        waiting.remove(job)
        ready = all(whole[need.job] for need in job.needs)
        for part in job.parts:
            row = rows.get(part.name)
            if ready and row is not None and row.state in ("success", "forgiven"):
                kept[part.name] = row
        whole[job.name] = ready and all(part.name in rows and rows[part.name].satisfies for part in job.parts)
    return kept


def _job(parsed: ParsedPipeline, name: str) -> JobDefinition:
    return next(job for job in parsed.jobs if job.name == name)


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return f"{', '.join(names[:_SHOWN])}{f' and {more} more' if more > 0 else ''}"
