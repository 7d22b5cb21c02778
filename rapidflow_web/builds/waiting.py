"""What keeps a job from being claimed, and a running one from being heard."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from rapidflow_web.builds.queue import NodeLoad
from rapidflow_web.db.build_lists import Build
from rapidflow_web.db.job_lists import JobRow
from rapidflow_web.db.models import Job
from rapidflow_web.db.related_builds import running_in

Running = Mapping[str, Sequence[int]]
"""The jobs that run, by concurrency group."""


async def running_before(rows: Iterable[Job | JobRow | Build]) -> Running:
    """What runs, by concurrency group, as far as one of these jobs waits for that."""
    groups = {job.concurrency_group for job in rows if job.status == "pending"}
    return await running_in([group for group in groups if group is not None])


def holder(group: str | None, running: Running, lead_id: int | None = None) -> int | None:
    """The job that has a concurrency group, for which another one waits; None where there is none.

    A part of the build `lead_id` may have the group of that build, for which it does not wait.
    """
    return next((one for one in running.get(group or "", ()) if one != lead_id), None)


def waits_for(
    job: Job | JobRow, running: Running, reason: Callable[[str | None], str | None] | None = None
) -> str | None:
    """What a pending job waits for besides a slot, in a few words; None for nothing.

    `reason` is `Queue.reason`.
    """
    if job.status != "pending":
        return None
    if job.unread:
        return "its definition to be read from the commit"
    if job.approval == "waiting":
        return f"an approval of the commit {job.commit}"
    other = holder(job.concurrency_group, running, job.lead_id)
    if job.concurrency_group is not None and other is not None:
        return f"job {other} of the concurrency group '{job.concurrency_group.partition(': ')[2]}' to end"
    if reason is not None and job.parts is None and (why := reason(job.on_node)) is not None:
        return f"a node: {why}"
    return None


def unheard(job: Job, nodes: Sequence[NodeLoad] | None, engine_problem: str | None) -> str | None:
    """Why nothing arrives of what a running build prints, in a sentence; None while its machine answers.

    `nodes` is `Queue.nodes`; where there are none, `engine_problem` says what is wrong with the only engine.
    """
    if job.status != "running" or job.parts is not None:
        return None
    if nodes is None or job.node is None:
        return f"Waiting for the engine: {engine_problem}" if nodes is None and engine_problem else None
    node = next((one.node for one in nodes if one.node.id == job.node), None)
    if node is not None and node.reachable:
        return None
    # A server that has just started knows of none.
    gone = node is None and len(nodes) > 0
    why = "is not among the machines of this server" if gone else "can't be reached"
    return f"Waiting for node {job.node_name or job.node}, which {why}"
