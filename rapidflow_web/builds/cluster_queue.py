"""The queue of many machines: a job is claimed once a machine that fits it has a free slot.

Which machines fit is asked for all combinations of labels that waiting jobs have. Only jobs that can begin
somewhere are claimed among, so one whose labels nobody has keeps no other from beginning. Of those, the
oldest begins first, as on a single machine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rapidflow_web.builds.health import Health
from rapidflow_web.builds.queue import NodeLoad, Queue
from rapidflow_web.db import claims
from rapidflow_web.db.models import Job
from rapidflow_web.executors.base import Executor
from rapidflow_web.executors.cluster import placement
from rapidflow_web.pipeline.node_labels import wanted


class ClusterQueue(Queue):
    """The jobs that wait, and the slots of the nodes of `executor`."""

    def __init__(self, executor: Executor, health: Health) -> None:
        super().__init__(0, health)
        self._executor = executor
        self._taken: Counter[str] = Counter()

    @property
    def slots(self) -> int:
        return sum(node.slots for node in self._executor.nodes or () if node.problem is None)

    @property
    def full(self) -> bool:
        return self._taken.total() >= self.slots

    @property
    def nodes(self) -> Sequence[NodeLoad]:
        return [NodeLoad(node, self._taken[node.id]) for node in self._executor.nodes or ()]

    def reason(self, on_node: str | None) -> str | None:
        return placement.reason(self._executor.nodes or (), self._taken, wanted(on_node))

    async def next(self) -> Job:
        """The next job, claimed, on a node of which it has a slot. Waits until there are both."""
        return await self._first_claimed()

    async def take_slot(self, job: Job) -> bool:
        # Also where that are more than there are: it runs already.
        if job.node is not None:
            self._taken[job.node] += 1
        return True

    def free_slot(self, job: Job) -> None:
        if job.node is not None:
            self._taken[job.node] -= 1
        self.wake()

    async def _claimed(self) -> Job | None:
        begin = [one for one in await claims.wanted_nodes() if self.reason(one) is None]
        job = await claims.claim_on_node(begin, self._place) if begin else None
        if job is not None and job.node is not None:
            self._taken[job.node] += 1
        return job

    def _place(self, on_node: str | None, image: str | None) -> tuple[str, str] | None:
        """The id and the name of the node for a job."""
        node = placement.choose(self._executor.nodes or (), self._taken, wanted(on_node), image)
        return None if node is None else (node.id, node.name)
