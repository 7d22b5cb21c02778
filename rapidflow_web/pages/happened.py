"""Events with what each meant for the pipelines, as pages show them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rapidflow_web.db import events, pipelines
from rapidflow_web.db.trigger_models import Decision, Event


@dataclass(frozen=True, slots=True)
class Meaning:
    """A decision, with the name of its pipeline."""

    pipeline: str
    decision: Decision


@dataclass(frozen=True, slots=True)
class Happened:
    """An event with the decisions that may be seen."""

    event: Event
    meanings: tuple[Meaning, ...]


async def happened(found: Sequence[Event]) -> list[Happened]:
    """The events with their decisions."""
    decisions = await events.decisions_on([event.id for event in found])
    names = await pipelines.names_of(
        [decision.pipeline_id for of_one in decisions.values() for decision in of_one]
    )
    return [
        Happened(event, tuple(Meaning(names.get(one.pipeline_id, ""), one) for one in decisions[event.id]))
        for event in found
    ]
