"""A build of several jobs as its page shows it: jobs with their parts, what took the time, what failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from rapidflow_web.builds.waiting import Running, holder
from rapidflow_web.db.models import Job, Step
from rapidflow_web.db.parts import Attempt, PartRow, job_of, part_row
from rapidflow_web.db.related_builds import running_in
from rapidflow_web.pages import failures

_ORDER = (
    "failed", "waits_for_approval", "running", "queued", "waiting", "cancelled", "forgiven", "success",
    "skipped",
)  # fmt: skip
"""The states, those first that somebody should look at."""


@dataclass(frozen=True, slots=True)
class PartView:
    """A part. Times are milliseconds since 1970.

    `state` is that of the part, or "queued" once it is a job that waits for a slot. `started_at` and
    `finished_at` are those of its last attempt; both are None of one that was taken over from another build.
    """

    row: PartRow
    number: int
    """Which step of the lead job it is."""
    state: str
    reason: str | None
    started_at: int | None
    finished_at: int | None
    ready_at: int | None = None
    """When the last of what it needs had ended."""
    critical: bool = False
    """Whether it is on the critical path."""
    why: failures.Reason | None = None
    """Why its last attempt failed, as its log says."""

    @property
    def cell(self) -> str:
        """Its combination of the matrix, such as "go=1.21"; its name where there is no matrix."""
        job = job_of(self.row.name)
        return self.row.name if job == self.row.name else self.row.name[len(job) + 2 : -1]

    @property
    def waited(self) -> int:
        """Milliseconds from `ready_at` to its start."""
        if self.ready_at is None or self.started_at is None:
            return 0
        return max(0, self.started_at - self.ready_at)

    @property
    def taken_over(self) -> bool:
        """Whether it ran in the build that this one is a retry of."""
        return self.row.job_id is not None and self.row.satisfies and self.started_at is None


@dataclass(frozen=True, slots=True)
class JobView:
    """A job of a build with its parts, of which it has one if it has no matrix."""

    number: int
    """Counts from 1."""
    name: str
    needs: tuple[str, ...]
    parts: tuple[PartView, ...]

    @property
    def folded(self) -> bool:
        """Whether it has a matrix."""
        return self.parts[0].row.name != self.name

    @property
    def critical(self) -> bool:
        """Whether one of its parts is on the critical path."""
        return any(part.critical for part in self.parts)

    @property
    def counts(self) -> list[tuple[str, int]]:
        """How many of its parts are in each state."""
        found = Counter(part.state for part in self.parts)
        return [(state, found[state]) for state in _ORDER if found[state]]

    @property
    def state(self) -> str:
        """The state of its parts that matters most."""
        return self.counts[0][0]

    @property
    def shown_first(self) -> list[PartView]:
        """Its parts, those first that somebody should look at."""
        urgent = ("failed", "waits_for_approval")
        return sorted(self.parts, key=lambda part: part.state not in urgent)


@dataclass(frozen=True, slots=True)
class Overview:
    """A build of several jobs."""

    jobs: tuple[JobView, ...]
    path: tuple[PartView, ...]
    """The parts each of which was the last that the next one waited for; the last ended the build."""
    failed: PartView | None
    """The part that failed first, of those that have a log."""

    @property
    def total(self) -> int:
        """How many parts it has."""
        return sum(len(job.parts) for job in self.jobs)

    @property
    def done(self) -> int:
        """With how many parts nothing more will happen."""
        return sum(part.row.final for job in self.jobs for part in job.parts)

    @property
    def failures(self) -> int:
        """How many parts failed."""
        return sum(part.state == "failed" for job in self.jobs for part in job.parts)

    @property
    def asking(self) -> list[JobView]:
        """The jobs that wait for an approval."""
        return [job for job in self.jobs if any(part.state == "waits_for_approval" for part in job.parts)]


async def overview(job: Job, steps: Sequence[Step], attempts: Mapping[int, Attempt]) -> Overview:
    """A build of several jobs, whose `steps` are its parts and whose `attempts` are their jobs."""
    queued = [one for one in attempts.values() if one.status == "pending"]
    groups = {one.concurrency_group for one in queued if one.concurrency_group is not None}
    running = await running_in(groups)
    parts = [_part(step, attempts, running, job.id) for step in steps]
    return arranged(parts, job.started_at or job.created_at, ended=job.finished_at is not None)


def arranged(parts: Sequence[PartView], began_at: int, *, ended: bool) -> Overview:
    """The parts of a build by their jobs. There is a critical path once it has `ended`."""
    of_jobs: dict[str, list[PartView]] = {}
    for part in parts:
        of_jobs.setdefault(job_of(part.row.name), []).append(part)
    last = {name: max(part.finished_at or 0 for part in found) for name, found in of_jobs.items()}
    by_name = {
        part.row.name: replace(
            part, ready_at=max((last.get(need, 0) for need in part.row.needs), default=0) or began_at
        )
        for part in parts
    }
    path = _critical(by_name) if ended else []
    for part in path:
        by_name[part.row.name] = replace(part, critical=True)
    jobs = tuple(
        JobView(number, name, found[0].row.needs, tuple(by_name[part.row.name] for part in found))
        for number, (name, found) in enumerate(of_jobs.items(), 1)
    )
    failed = [part for part in by_name.values() if part.state == "failed" and part.row.job_id is not None]
    first = min(failed, key=lambda part: (part.finished_at or began_at, part.number), default=None)
    return Overview(jobs, tuple(path), first)


def _part(step: Step, attempts: Mapping[int, Attempt], running: Running, lead_id: int) -> PartView:
    row = part_row(step)
    state, reason = row.state, row.reason
    attempt = attempts.get(row.job_id or 0)
    if state == "waiting" and row.job_id is not None:
        state, reason = "queued", "waits for a free slot"
        group = attempt.concurrency_group if attempt is not None else None
        if other := holder(group, running, lead_id):
            reason = f"waits for #{other}, which is in the same concurrency group"
    # Those of an attempt that failed stay until the next one runs.
    over = state in ("waiting", "queued", "waits_for_approval")
    times = (None, None) if over else (step.started_at, step.finished_at)
    why = failures.reason(attempt) if state == "failed" and attempt is not None else None
    return PartView(row, step.order_num, state, reason, *times, why=why)


def _critical(parts: Mapping[str, PartView]) -> list[PartView]:
    """From the part that ended last back through the last that it waited for, in the order they ran."""
    ran = [part for part in parts.values() if part.started_at is not None and part.finished_at is not None]
    path: list[PartView] = []
    found = ran
    while found:
        last = max(found, key=lambda part: part.finished_at or 0)
        path.insert(0, last)
        found = [part for part in ran if job_of(part.row.name) in last.row.needs]
    return path
