"""Why builds failed, in words."""

from __future__ import annotations

import re

from rapidflow_web.executors.agent import protocol
from rapidflow_web.executors.base import Exit
from rapidflow_web.pipeline.limits import Limits, format_size


def step(number: int, kind: str) -> str:
    """A step, as part of a sentence. `kind` is bash or sh."""
    return f"step {number} ({kind})"


def exited(number: int, kind: str, code: int) -> str:
    """A step failed."""
    return f"{step(number, kind)} exited with {code}"


_EXITED = re.compile(r"step ([0-9]+) \([a-z]+\) exited with (-?[0-9]+)")


def exit_in(reason: str) -> tuple[int, int] | None:
    """The number of a step and its exit code out of what `exited` says; None of any other reason."""
    match = _EXITED.fullmatch(reason)
    return (int(match[1]), int(match[2])) if match is not None else None


def out_of_memory(where: str, limits: Limits) -> str:
    """A step, or the build, needed more memory than it may have."""
    limit = f" (limit {format_size(limits.memory)})" if limits.memory is not None else ""
    return f"{where} ran out of memory{limit}"


def at_node(reason: str, name: str | None) -> str:
    """A reason that is the engine's doing, with the name of its node, if there are several machines."""
    return reason if name is None or reason.startswith(f"node {name} ") else f"node {name}: {reason}"


def ended(what: str, during: str | None, how: Exit, complaint: str, limits: Limits) -> str:
    """What the build ran in, `what`, ended by itself; `during` is the step that ran then.

    It is None before the first one; `complaint` is what was printed before the first step.
    """
    if how.out_of_memory:
        return out_of_memory(during or "the build", limits)
    code = "" if how.code is None else f" (exit code {how.code})"
    if during is not None:
        return f"{what} ended during {during}{code}"
    reason = f": {complaint}" if complaint else ""
    return protocol.no_shell(complaint) or f"{what} ended before the first step{code}{reason}"
