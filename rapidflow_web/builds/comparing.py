"""Compares two builds of a pipeline: their commits and their logs."""

from __future__ import annotations

from dataclasses import dataclass

from rapidflow_web.db import job_steps, repositories
from rapidflow_web.db.models import Job
from rapidflow_web.errors import LogUnreadable, RapidFlowError
from rapidflow_web.logs import search
from rapidflow_web.logs.log import Log, LogStore
from rapidflow_web.secrets.vault import Vault
from rapidflow_web.source import history
from rapidflow_web.source.git import GitError
from rapidflow_web.source.mirrors import Account, Mirrors

MOST_COMMITS = 50
"""Commits that are listed."""


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a log: what it says, and where it is if it is a step's.

    The text is None where the log has ended, and where the step has: then `step` tells which.
    """

    text: str | None
    step: int | None
    line: int | None


@dataclass(frozen=True, slots=True)
class Compared:
    """What two builds differ in. `commits` are as `Comparing.compare` tells."""

    commits: list[history.Commit] | None
    places: tuple[Place, Place] | None
    """Where the logs first differ, in both; None where they say the same."""
    problem: str | None
    """Why the logs could not be compared."""


class Comparing:
    """Compares builds. Everybody has one comparison at a time, for that takes a while."""

    def __init__(self, mirrors: Mirrors, vault: Vault, logs: LogStore) -> None:
        self._mirrors = mirrors
        self._vault = vault
        self._logs = logs

    async def compare(self, old: Job, new: Job, who: str) -> Compared:
        """Compares commits and logs for `who`. Raises `TooManyRequests`.

        The commits are those that `new` has and `old` has not, newest first, up to one more than
        `MOST_COMMITS`; None where that is not known: the server contacts nobody for it.
        """
        async with search.comparisons.turn(who):
            commits = await self._commits(old, new)
            try:
                return Compared(commits, await self._places(old, new), None)
            except (LogUnreadable, search.CannotSearch) as error:
                return Compared(commits, None, str(error))

    async def _commits(self, old: Job, new: Job) -> list[history.Commit] | None:
        if old.commit is None or new.commit is None or new.repo_name is None:
            return None
        if old.repo_name != new.repo_name:
            return None
        repository = await repositories.of_pipeline(new.pipeline_id)
        scope = new.pipeline_id if repository is None else self._vault.scope_of_repository(repository.id)
        try:
            account = Account(scope, await self._vault.login_of(scope))
            for mirror in await self._mirrors.known(new.repo_name, account):
                try:
                    return await history.between(mirror, old.commit, new.commit, MOST_COMMITS + 1)
                except GitError:
                    continue
        except (RapidFlowError, ValueError):
            pass
        return None

    async def _places(self, old: Job, new: Job) -> tuple[Place, Place] | None:
        one, other = self._log(old), self._log(new)
        found = await search.first_difference(one, other)
        if found is None:
            return None
        return (
            await _place(one, old, found.line, found.one, found.at_one),
            await _place(other, new, found.line, found.other, found.at_other),
        )

    def _log(self, job: Job) -> Log:
        log = self._logs.open(job.id)
        log.expect(job.log_size)
        return log


async def _place(log: Log, job: Job, line: int, text: str | None, at: int) -> Place:
    order = {step.id: step.order_num for step in await job_steps.of_job(job.id)}
    ended: int | None = None
    for span in log.layout.spans:
        if span.start <= at < (log.size if span.end is None else span.end):
            return Place(text, order.get(span.step_id), line - span.first_line + 1)
        if span.end is not None and span.end <= at:
            ended = order.get(span.step_id)
    # An empty line stands before the header of the next step: nobody printed it.
    return Place(None, ended, None) if text == "" and ended is not None else Place(text, None, None)
