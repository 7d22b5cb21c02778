"""Which machine gets a build, and why none does: pure functions of what is known of the machines.

A machine fits if it has all the labels that the build asks for and a free slot, and builds may begin there.
Of those that fit, the one with the smallest share of its slots taken gets the build. One without the image
counts as half full: it gets the build where the others have much more to do, and has the image from then on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rapidflow_web.pipeline.node_labels import listed

SLOTS_LABEL = "rapidflow.slots"
"""The label with the number of builds that a machine runs at once."""
MOST_SLOTS = 10_000
"""The largest number that the label may have."""
_MOST_DIGITS = 20
_PULL = 0.5
"""The share of a machine's slots that a pull of the image counts for."""


@dataclass(frozen=True, slots=True)
class NodeState:
    """A machine as it was last seen.

    `problem` is why no build may begin there, as the end of a sentence about it; None while builds may.
    `reachable` is whether its engine answers. `images` are names of images that it has, as far as known.
    """

    id: str
    name: str
    labels: Mapping[str, str]
    slots: int
    problem: str | None
    reachable: bool
    parked: int = 0
    images: frozenset[str] = frozenset()


def slots_of(labels: Mapping[str, str], said: int | None, default: int) -> int:
    """How many builds a machine runs at once: by its label, by its inventory, or as many as any machine."""
    labelled = labelled_slots(labels)
    if labelled is not None:
        return labelled
    return default if said is None else said


def labelled_slots(labels: Mapping[str, str]) -> int | None:
    """What the label says; None without one, or if it is no number up to `MOST_SLOTS`."""
    text = labels.get(SLOTS_LABEL, "")
    if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS and int(text) <= MOST_SLOTS:
        return int(text)
    return None


def choose(
    nodes: Sequence[NodeState], taken: Mapping[str, int], wanted: Mapping[str, str], image: str | None = None
) -> NodeState | None:
    """The machine for a build; None where none fits. `taken` is how many builds run on each, by its id."""
    fit = [
        node
        for node in nodes
        if node.problem is None and taken.get(node.id, 0) < node.slots and _has(node, wanted)
    ]

    def load(node: NodeState) -> tuple[float, str]:
        pull = _PULL if image is not None and _tagged(image) not in node.images else 0
        return taken.get(node.id, 0) / node.slots + pull, node.name

    return min(fit, key=load, default=None)


def reason(nodes: Sequence[NodeState], taken: Mapping[str, int], wanted: Mapping[str, str]) -> str | None:
    """Why no machine fits, in a sentence without an end; None where one does."""
    if choose(nodes, taken, wanted) is not None:
        return None
    if not nodes:
        return "there are no nodes"
    labelled = [node for node in nodes if _has(node, wanted)]
    if not labelled:
        return f"no node has {listed(wanted)}"
    of_label = f" with {listed(wanted)}" if wanted else ""
    usable = [node for node in labelled if node.problem is None]
    if not usable:
        each = "; ".join(f"{node.name} {node.problem}" for node in labelled[:3])
        more = f" and {len(labelled) - 3} more" if len(labelled) > 3 else ""
        return f"no node{of_label} takes builds: {each}{more}"
    slots = sum(node.slots for node in usable)
    if not slots:
        return f"no node{of_label} has a slot"
    used = sum(min(taken.get(node.id, 0), node.slots) for node in usable)
    return f"{used} of {slots} slots{f' of nodes{of_label}' if wanted else ''} are taken"


def _has(node: NodeState, wanted: Mapping[str, str]) -> bool:
    return all(node.labels.get(name) == value for name, value in wanted.items())


def _tagged(image: str) -> str:
    """The name as engines list it."""
    return image if "@" in image or ":" in image.rpartition("/")[2] else f"{image}:latest"
