"""One build of several jobs, from its begin to the last line of its log.

The lead job has no container and takes no slot. It makes each part a job when that is ready to run, follows
these jobs, and ends when all parts have. All that it decides follows from what is stored, so a server that
was killed goes on where it was. Each line of its log is written once, before what it tells is stored.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from rapidflow_web.builds import concurrency, part_lines, part_rules
from rapidflow_web.builds.beginning import columns_of
from rapidflow_web.builds.ending import Ending
from rapidflow_web.builds.facts import facts_of
from rapidflow_web.builds.preparation import Tools
from rapidflow_web.db import jobs, parts, repositories
from rapidflow_web.db.database import is_away
from rapidflow_web.db.models import Job
from rapidflow_web.db.parts import Attempt, PartRow
from rapidflow_web.errors import BadRequest, NotFound, RapidFlowError, one_line
from rapidflow_web.logs.log import LogStore
from rapidflow_web.logs.writer import LogWriter
from rapidflow_web.pipeline.definition import JobDefinition, ParsedPipeline, Part
from rapidflow_web.pipeline.durations import format_duration
from rapidflow_web.pipeline.repositories import ref_of
from rapidflow_web.pipeline.triggers import Facts
from rapidflow_web.pipeline.variables import HIDDEN, has_power
from rapidflow_web.shielding import EndedEarly, unless
from rapidflow_web.source import history
from rapidflow_web.source.mirrors import Account

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 10.0
"""After which it looks at its parts although nothing told it to."""
_LONGEST_LINE = 500
_COPIED = (
    "pipeline_id", "definition_id", "repo_name", "branch", "commit", "ref", "title", "author", "pull_request",
    "before", "base", "untrusted", "upload_id", "started_by", "event",
)  # fmt: skip
"""The columns that a part has from its lead job."""


class Lead:
    """Leads one build. `cancel` cancels a job, and returns when that has ended."""

    def __init__(
        self,
        tools: Tools,
        logs: LogStore,
        ending: Ending,
        job: Job,
        parsed: ParsedPipeline,
        cancel: Callable[[int], Awaitable[None]],
    ) -> None:
        self.finished = asyncio.Event()
        self._tools = tools
        self._ending = ending
        self._job = job
        self._parsed = parsed
        self._cancel = cancel
        self._attempts: set[int] | None = None
        """The jobs of its parts that have not ended; None while it looks which these are."""
        self._changed = asyncio.Event()
        self._stopped = asyncio.Event()
        """Set when the build is cancelled."""
        self._log = logs.open(job.id)
        self._writer: LogWriter = logs.writer(job.id)
        self._said: set[bytes] = set()
        self._given: dict[str, str] | None = None
        """The variables that the build was given; None until they are read."""
        self._cancels: dict[int, asyncio.Task[None]] = {}

    @property
    def cancelled(self) -> bool:
        """Whether it is being cancelled."""
        return self._stopped.is_set()

    def cancel(self) -> None:
        """Ends the build, whose cancel is stored; `finished` tells when that is done."""
        self._stopped.set()
        self.wake()

    def wake(self) -> None:
        """Something of it may have changed."""
        self._changed.set()

    def job_changed(self, job_id: int) -> None:
        """A job has changed, which may be one of its parts."""
        if self._attempts is None or job_id in self._attempts:
            self.wake()

    async def run(self) -> None:
        """Leads it to its end. A cancelled call lets go of it, for the next server to take up."""
        try:
            try:
                self._said = set((await part_lines.text_of(self._log)).splitlines(keepends=True))
                status, error = await self._lead()
            except RapidFlowError as problem:
                status, error = "failed", str(problem)
                await self._end_all()
            except Exception as problem:
                _log.exception("unexpected error")
                status, error = "failed", f"the build server failed: {type(problem).__name__}: {problem}"
                await self._end_all()
            if self._cancels:
                # Each still ends the log of its job, which nobody else does before the next start.
                await asyncio.wait(self._cancels.values())
            await self._ending.ended(self._job.id, status, error, writer=self._writer)
            self.finished.set()
        finally:
            self._writer.close()
            for task in self._cancels.values():
                task.cancel()

    # The source

    async def _prepared(self) -> Facts:
        """What is known of the build, once the commit is found. Raises `BuildError`, `VaultError`."""
        current = await jobs.get(self._job.id)
        if current is not None and current.cancelled:
            self._stopped.set()
        with contextlib.suppress(EndedEarly):  # that decides what comes of the parts
            await unless(self._stopped, self._find_commit())
        return await facts_of(self._job, self._parsed.name)

    async def _find_commit(self) -> None:
        """Finds the commit, once for all parts, and makes sure that the secrets of all parts are there."""
        job, tools = self._job, self._tools
        if await parts.attempts(job.id):
            return  # an earlier server did
        repository = await repositories.of_pipeline(job.pipeline_id)
        if not job.untrusted:
            granted = repository.secrets if repository is not None else None
            await tools.vault.of_build(job.pipeline_id, self._parsed.combined.secrets, granted)
        if job.repo_name is None or job.commit is not None:
            return
        scope = job.pipeline_id if repository is None else tools.vault.scope_of_repository(repository.id)
        account = Account(scope, await tools.vault.login_of(scope))
        source = await tools.mirrors.fetch(job.repo_name, job.branch, account=account, patient=True)
        commit = await history.commit_of(source.mirror, source.commit)
        job.commit, job.branch = source.commit, source.branch
        job.ref = job.ref or ref_of(job.branch)
        job.title, job.author = commit.title or None, commit.author or None
        found = {"commit": job.commit, "branch": job.branch, "ref": job.ref}
        await jobs.update(job.id, **found, title=job.title, author=job.author)

    # The parts

    async def _lead(self) -> tuple[str, str | None]:
        facts: Facts | None = None
        while True:
            self._changed.clear()
            self._attempts = None
            try:
                facts = facts or await self._prepared()
                if (ended := await self._look(facts)) is not None:
                    return ended
            except Exception as error:
                if not is_away(error):
                    raise
                _log.warning("the parts can't be looked at; trying again: %s", error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._changed.wait()

    async def _look(self, facts: Facts) -> tuple[str, str | None] | None:
        """Does what is to be done now; returns the status and error of the build once it has ended."""
        current = await jobs.get(self._job.id)
        if current is None or current.cancelled:
            self._stopped.set()
        rows = {row.name: row for row in await parts.of_lead(self._job.id)}
        attempts = await parts.attempts(self._job.id)
        for job in self._parsed.jobs:
            await self._follow(job, rows, attempts)
        for row in rows.values():
            if row.state == "cancelled" and row.job_id is None:
                await self._say(row, None)  # by whom it was rejected
        while await self._go_on(rows, facts):
            pass  # what has ended by that may decide what comes next
        self._attempts = {row.job_id for row in rows.values() if row.job_id is not None and not row.final}
        if not all(row.final for row in rows.values()):
            await self._uncross(rows)
            return None
        return ("cancelled", None) if self._stopped.is_set() else part_rules.outcome(list(rows.values()))

    async def _follow(
        self, job: JobDefinition, rows: dict[str, PartRow], attempts: Mapping[int, Attempt]
    ) -> None:
        """Takes over how the jobs of the parts stand, and ends those that are to end."""
        ended_by = self._ended_by(job, rows)
        for part in job.parts:
            row = rows[part.name]
            if row.final or row.job_id is None:
                continue
            attempt = attempts.get(row.job_id)
            after = part_rules.follow(row, job, attempt, ended_by)
            if after != row:
                await self._say(after, attempt)
                await parts.store(after, attempt)
                rows[part.name] = after
            if ended_by is not None and not after.final and row.job_id not in self._cancels:
                self._cancels[row.job_id] = asyncio.create_task(self._end(row.job_id))
        if self._ended_by(job, rows) != ended_by:
            self.wake()  # one of them has failed just now, which ends the others

    def _ended_by(self, job: JobDefinition, rows: Mapping[str, PartRow]) -> str | None:
        """Why the parts of a job are to end before their time; None where they are not."""
        if self._stopped.is_set():
            return "the build was cancelled"
        failed = part_rules.failed_first(job, rows)
        return None if failed is None else f"ended because {failed} failed"

    async def _go_on(self, rows: dict[str, PartRow], facts: Facts) -> bool:
        """Begins, asks for and leaves out what can be; says whether a part has ended by that."""
        ended = False
        for job in self._parsed.jobs:
            waiting = [one for one in job.parts if not rows[one.name].final and rows[one.name].job_id is None]
            if not waiting:
                continue
            needs = part_rules.needs_of(self._parsed, job, rows)
            for part in waiting:
                row = rows[part.name]
                # Each time anew: to begin many takes a while, in which the build may be cancelled.
                if (reason := self._ended_by(job, rows)) is not None:
                    after = replace(row, state="cancelled", reason=reason)
                else:
                    after = self._judged(row, part_rules.judge(job, part, needs, rows, facts))
                if after is None:
                    rows[part.name] = await self._begin(job, part, row, facts)
                elif after != row:
                    await self._say(after, None)
                    await parts.store(after)
                    rows[part.name] = after
                    ended = ended or after.final
        return ended

    async def _uncross(self, rows: Mapping[str, PartRow]) -> None:
        """Fails parts that would wait for ever, for builds that wait for the group of this one."""
        if self._job.concurrency_group is None or not any(row.state == "waiting" for row in rows.values()):
            return
        for job_id, why in (await concurrency.crossed(self._job.id)).items():
            await self._ending.failed_before_start(job_id, why)

    def _judged(self, row: PartRow, verdict: part_rules.Verdict) -> PartRow | None:
        """The part after a verdict; None for one that is to begin."""
        if verdict.kind == "run":
            return None
        if verdict.kind == "wait" and row.attempt > 1:
            return row  # why it runs again says more
        states = {"wait": "waiting", "ask": "waits_for_approval", "skip": "skipped"}
        return replace(row, state=states[verdict.kind], reason=verdict.reason, own_if=verdict.own_if)

    async def _begin(self, job: JobDefinition, part: Part, row: PartRow, facts: Facts) -> PartRow:
        """Makes a part a job, which waits for a slot from then on."""
        lead, build = self._job, part.build
        if row.approved_by is not None:
            await self._write(row, f"approved by {row.approved_by}")
        group = None
        if part.concurrency is not None:
            repository = await repositories.of_pipeline(lead.pipeline_id)
            group = concurrency.group_of(
                replace(build, concurrency=part.concurrency),
                facts,
                repository.id if repository is not None else None,
                untrusted=lead.untrusted,
                uploaded_by=lead.started_by if lead.upload_id is not None else None,
            )
        fields: dict[str, Any] = {
            **{name: getattr(lead, name) for name in _COPIED},
            **columns_of(build),
            "lead_id": lead.id,
            "priority": 0 if lead.untrusted else job.priority,
            "concurrency_group": group,
        }
        steps = [
            replace(step, skipped=row.left_out.get(str(number))) for number, step in enumerate(build.steps, 1)
        ]
        return await parts.begin(row, fields, steps, await self._environment(build))

    async def _environment(self, build: ParsedPipeline) -> dict[str, str]:
        """The variables of a part: its own, and those that the build was given instead."""
        if self._given is None:
            hidden = self._parsed.combined.secrets
            self._given = {
                row.key: row.value
                for row in await jobs.environment_of(self._job.id)
                if row.key not in hidden and self._parsed.env.get(row.key) != row.value
            }
        # As for any build: others could make it print its secrets, or run what its author did not write.
        given = {
            name: value
            for name, value in self._given.items()
            if name in build.env or not (build.secrets or has_power(name))
        }
        secrets = () if self._job.untrusted else build.secrets
        return {**build.env, **given, **dict.fromkeys(secrets, HIDDEN)}

    async def _end(self, job_id: int) -> None:
        """Cancels the job of a part."""
        try:
            await self._cancel(job_id)
        except (BadRequest, NotFound) as error:
            _log.debug("job %d: %s", job_id, error)  # it has ended already
        except Exception as error:
            _log.warning("job %d can't be cancelled: %s", job_id, error)
            await asyncio.sleep(1)
            self._cancels.pop(job_id, None)
        self.wake()

    async def _end_all(self) -> None:
        """Ends the parts of a build that can't be led on."""
        for job_id, attempt in (await parts.attempts(self._job.id)).items():
            if attempt.status not in jobs.FINISHED:
                await self._end(job_id)
        await parts.end_all(self._job.id, "the build failed")

    # The log

    async def _say(self, row: PartRow, attempt: Attempt | None) -> None:
        """Writes a line of what happened with a part, unless it is there already."""
        if row.state == "waiting" and row.attempt == 1:
            return  # that it waits is nothing that happened
        await self._write(row, _words(row, attempt))

    async def _write(self, row: PartRow, words: str) -> None:
        line = part_lines.line_of(row.name, one_line(words)[:_LONGEST_LINE])
        if line in self._said:
            return
        self._said.add(line)
        await self._writer.append(line, self._writer.source, whole=True)
        await self._writer.check()
        self._log.wake()


def _words(row: PartRow, attempt: Attempt | None) -> str:
    if row.state == "running":
        again = f", attempt {row.attempt}" if row.attempt > 1 else ""
        return f"runs as job {row.job_id}{again}"
    if row.state == "waits_for_approval":
        return row.reason or "waits for an approval"
    if row.state == "waiting":
        return f"{row.reason}; it runs again"
    took = ""
    if attempt is not None and attempt.started_at is not None and attempt.finished_at is not None:
        took = f" after {format_duration(max(0, attempt.finished_at - attempt.started_at) // 1000)}"
    reason = f": {row.reason}" if row.reason is not None else ""
    state = "failed" if row.state == "forgiven" else row.state  # the reason says that it may
    return f"{state}{took}{reason}"
