"""What the command expects of answers: whatever answers at an address may be no server of ours, or hostile.

A shape is a function that tells whether a value is like that.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, cast

Shape = Callable[[Any], bool]

_MOST = 2**63


def anything(_value: Any) -> bool:
    """Where the answer is not looked at."""
    return True


def text(value: Any) -> bool:
    return isinstance(value, str)


def number(value: Any) -> bool:
    """An integer, as the database has them."""
    return isinstance(value, int) and abs(value) < _MOST


def moment(value: Any) -> bool:
    """A time with its zone."""
    try:
        return datetime.fromisoformat(value).tzinfo is not None
    except (TypeError, ValueError):
        return False


def optional(shape: Shape) -> Shape:
    return lambda value: value is None or shape(value)


def several(shape: Shape) -> Shape:
    return lambda value: isinstance(value, list) and all(map(shape, cast(list[Any], value)))


def fields(**shapes: Shape) -> Shape:
    """An object that has at least these fields."""
    return lambda value: (
        isinstance(value, dict)
        and all(name in value and shape(value[name]) for name, shape in shapes.items())
    )


MESSAGE = fields(message=text)
STORED = fields(id=number)
STATUS = fields(status=text)
READINESS = fields(status=text, database=text, engine=text, disk=text)
JOBS = several(
    fields(
        id=number,
        status=text,
        pipeline_id=number,
        branch=optional(text),
        commit=optional(text),
        created_at=moment,
        started_at=optional(moment),
        finished_at=optional(moment),
    )
)
WAITING = fields(commit=optional(text), title=optional(text), author=optional(text), ref=optional(text))
FOLLOWED = fields(id=number, status=text)
"""A job, which has the number of its `parts` if it is a build of several jobs."""
PARTS = several(
    fields(
        content=text,
        started_at=optional(moment),
        finished_at=optional(moment),
        part=fields(job_id=optional(number), attempt=number, state=text, reason=optional(text)),
    )
)
_REPOSITORY: dict[str, Shape] = {
    "id": number,
    "url": text,
    "forge": text,
    "default_branch": text,
    "hook_url": text,
    "connected": anything,
    "poll": text,
    "pipelines": several(fields(id=number, name=text, path=text)),
    "problems": several(fields(path=text, message=text)),
    "poll_error": optional(text),
}
REPOSITORY = fields(**_REPOSITORY)
ADDED = fields(hook_secret=text, **_REPOSITORY)
REPOSITORIES = several(REPOSITORY)
_DECISION = fields(pipeline_id=optional(number), outcome=text, reason=text)
_WHAT: dict[str, Shape] = {
    "kind": text,
    "ref": optional(text),
    "after": optional(text),
    "decisions": several(_DECISION),
}
_EVENT = fields(**_WHAT)
EVENTS = several(fields(source=text, sender=optional(text), title=optional(text), at=text, **_WHAT))
DELIVERIES = several(
    fields(
        id=number,
        event=text,
        at=moment,
        status=number,
        reason=optional(text),
        outcome=optional(text),
        handled_at=optional(moment),
    )
)
DELIVERY = fields(handled_at=optional(moment), outcome=optional(text), events=several(_EVENT))
REPLAYED = fields(delivery=optional(number), events=several(_EVENT))
EXPLANATIONS = several(fields(ref=optional(text), commit=optional(text), outcome=text, reason=text))
UPLOAD = fields(id=number)
ME = fields(name=optional(text))
PIPELINES = several(fields(id=number, name=text, config=text))
SECRETS = several(fields(name=text, updated_at=text, updated_by=optional(text)))
PRUNED = fields(
    builds=several(fields(id=number, finished_at=text, bytes=number, reason=text)),
    mirrors=several(fields(name=text, bytes=number, used_at=text)),
    images=several(fields(name=text, bytes=number)),
)
