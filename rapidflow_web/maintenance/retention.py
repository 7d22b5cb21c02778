"""Which finished builds are removed: those that are too old, too many, or whose logs take too much room.

Never the last successful build of a pipeline, never one whose parts a retry has taken over while that is
there, and never one that has not wholly finished.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from rapidflow_web.db import retention
from rapidflow_web.db.retention import Finished
from rapidflow_web.pipeline.durations import format_duration
from rapidflow_web.pipeline.limits import format_size
from rapidflow_web.settings import Settings

_DAY = 24 * 3600


@dataclass(frozen=True, slots=True)
class Rules:
    """What is kept: `age` in seconds, `builds` of each pipeline, `size` in bytes; None: whatever there is."""

    age: int | None
    builds: int | None
    size: int | None

    @classmethod
    def of(cls, settings: Settings) -> Rules:
        """The rules that the administrator has set."""
        return cls(settings.keep_age, settings.keep_builds, settings.keep_size)


@dataclass(frozen=True, slots=True)
class Expired:
    """A build that is to be removed, and why, in words."""

    build: Finished
    reason: str


async def expired(rules: Rules, now: int) -> AsyncIterator[Expired]:
    """The builds that go by the rules, each once. `now` is in ms."""
    taken = await retention.last_successes() | await retention.taken_over()
    freed = 0
    if rules.builds is not None:
        words = "finished build" if rules.builds == 1 else "finished builds"
        for build in await retention.beyond(rules.builds):
            if build.id not in taken:
                taken.add(build.id)
                freed += build.size
                yield Expired(build, f"the pipeline has more than {rules.builds} {words}")
    if rules.age is not None:
        reason = f"it is older than {_age(rules.age)}"
        async for build in retention.oldest_first():
            if build.finished_at >= now - rules.age * 1000:
                break
            if build.id not in taken:
                taken.add(build.id)
                freed += build.size
                yield Expired(build, reason)
    if rules.size is not None:
        # Last, because what goes by the other rules makes room, too.
        excess = await retention.total_size() - freed - rules.size
        reason = f"all logs take more than {format_size(rules.size)}"
        async for build in retention.oldest_first():
            if excess <= 0:
                break
            if build.id not in taken:
                taken.add(build.id)
                excess -= build.size
                yield Expired(build, reason)


def _age(seconds: int) -> str:
    return f"{seconds // _DAY}d" if seconds % _DAY == 0 else format_duration(seconds)
