"""Builds of which one runs at a time, and what becomes of the others."""

from __future__ import annotations

from collections.abc import Sequence

from rapidflow_web.db import claims, jobs
from rapidflow_web.pipeline.definition import ParsedPipeline
from rapidflow_web.pipeline.triggers import Facts

_FORKS = ", forks"


def group_of(
    parsed: ParsedPipeline,
    facts: Facts,
    repository_id: int | None = None,
    *,
    untrusted: bool = False,
    uploaded_by: str | None = None,
) -> str | None:
    """What the builds have in common of which one runs at a time, in the words of the database.

    Pipelines that stand in no repository share their groups in the whole installation. Builds of working
    trees share theirs with those of the same user alone.
    """
    if parsed.concurrency is None:
        return None
    scope = "installation" if repository_id is None else f"repository {repository_id}"
    apart = f", uploads of {uploaded_by}" if uploaded_by is not None else _FORKS if untrusted else ""
    return f"{scope}{apart}: {parsed.concurrency.group_of(facts)}"


def of_forks(group: str | None) -> str | None:
    """The group in which builds of forks are that name this one."""
    scope, separator, name = (group or "").partition(": ")
    return group if group is None or scope.endswith(_FORKS) else f"{scope}{_FORKS}{separator}{name}"


async def take_turn(parsed: ParsedPipeline, group: str | None, job_id: int) -> None:
    """Has a new build take the place of others in its group, as its definition says; for a transaction."""
    if group is not None and parsed.concurrency is not None and parsed.concurrency.when_busy != "queue":
        await jobs.supersede(group, job_id, also_running=parsed.concurrency.when_busy == "cancel")


async def crossed(lead_id: int) -> dict[int, str]:
    """The jobs of parts of a build that would wait for ever, each with a sentence that says why.

    A build that holds a group waits there for the group of another build, which waits, perhaps through
    others, for that of the first. Only the newest of such builds has them, so that the others go on.
    """
    waiting = await claims.parts_behind_leads()
    found: dict[int, str] = {}
    for lead, job_id, other in waiting:
        if lead == lead_id and lead_id in _behind(other, lead_id, waiting):
            found[job_id] = (
                f"build {other} held the concurrency group that it needed, and waited for one that this "
                "build held; let both use their groups in the same order"
            )
    return found


def _behind(lead_id: int, newest: int, waiting: Sequence[tuple[int, int, int]]) -> set[int]:
    """The builds for which this one waits, also through others, up to the `newest`."""
    found: set[int] = set()
    fresh = {lead_id} if lead_id < newest else set[int]()
    while fresh:
        fresh = {other for lead, _, other in waiting if lead in fresh and other <= newest} - found
        found |= fresh
        fresh.discard(newest)
    return found
