"""What a running build does now, and whether it is silent for longer than it ever was."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from rapidflow_web.builds.execution import Execution
from rapidflow_web.db.related_builds import longest_silence
from rapidflow_web.errors import RapidFlowError
from rapidflow_web.executors.base import Process

_LEAST = 15_000
"""Milliseconds of silence of which nothing is said, however talkative a step was."""
_ENGINE_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Activity:
    """A step that runs: for how long it has printed nothing, and the longest that it ever did, in ms.

    `processes` is None where the engine does not tell, or was not asked. `unheard` is why nothing arrives of
    what it prints, as `waiting.unheard` has it.
    """

    step_id: int
    silent: int
    longest: int | None
    processes: list[Process] | None = None
    unheard: str | None = None

    @property
    def stalled(self) -> bool:
        """Whether it may hang: it is silent for longer than it ever was, in this build or an earlier one."""
        return self.unheard is None and self.silent > max(self.longest or 0, _LEAST)


async def activity(execution: Execution, unheard: str | None, *, ask_always: bool) -> Activity | None:
    """What a build does now; None where no step runs.

    The engine is asked for the processes where the step may hang, or with `ask_always`.
    """
    silence, step_id = execution.silence, execution.step_id
    if silence is None or step_id is None:
        return None
    now = Activity(step_id, int(silence.lasts * 1000), int(silence.longest * 1000) or None, unheard=unheard)
    if not (now.stalled or ask_always):
        return now  # which costs nothing
    earlier = await longest_silence(execution.job, step_id)
    now = replace(now, longest=max(now.longest or 0, earlier or 0) or None)
    if not (now.stalled or ask_always):
        return now
    try:
        async with asyncio.timeout(_ENGINE_SECONDS):
            return replace(now, processes=await execution.processes())
    except (RapidFlowError, TimeoutError):
        return now
