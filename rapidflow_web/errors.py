"""The tree of the errors that people see.

A room may add leaves of its own, such as `GitError` under `BuildError`. An error that callers always catch,
such as `NoSuchUser`, need not be in the tree.

Each message is one sentence that says what is wrong and, where it can, what to do. `web/errors.py` maps the
branches under `RequestError` to HTTP, and nothing else does; a `BuildError` becomes the `error` of a job.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

Cause = Literal["engine_lost", "service_failed", "timeout"]
"""What may end a build besides a step: the engine, a service, a time limit."""


class RapidFlowError(Exception):
    """The root of the tree. `cause` is for rules on builds that it ends."""

    cause: ClassVar[Cause | None] = None


class SettingsError(RapidFlowError):
    """The server can't start with these settings."""


class DatabaseError(RapidFlowError):
    """The database can't be used as it is."""


class RequestError(RapidFlowError):
    """A request that fails. `status` is the HTTP status."""

    status = 400


class BadRequest(RequestError):
    """Invalid request, or not possible in the current state."""


class Unauthorized(RequestError):
    """Not authenticated."""

    status = 401


class TooManyRequests(RequestError):
    """Too many attempts. `wait` is in seconds."""

    status = 429

    def __init__(self, message: str, wait: float) -> None:
        super().__init__(message)
        self.wait = wait


class Conflict(RequestError):
    """Conflicts with existing data."""

    status = 409


class Forbidden(RequestError):
    """Not permitted, or not from this origin. `by_role` where another role would be let in."""

    status = 403

    def __init__(self, message: str, *, by_role: bool = False) -> None:
        super().__init__(message)
        self.by_role = by_role


class NotFound(RequestError):
    """Not found. `on_page` says it to people, who know a job as a build; by default it is the message."""

    status = 404

    def __init__(self, message: str, on_page: str | None = None) -> None:
        super().__init__(message)
        self.on_page = on_page


class UnsupportedMediaType(RequestError):
    """The media type of the body is not supported."""

    status = 415


class RangeNotSatisfiable(RequestError):
    """The requested range begins past the end. `length` is the size in bytes."""

    status = 416

    def __init__(self, message: str, length: int) -> None:
        super().__init__(message)
        self.length = length


class LogUnreadable(RequestError):
    """A log that was written is not there, or damaged. Only whoever runs the server can mend that."""

    status = 500


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a body. Lines and columns count from 1 and are those of the YAML text."""

    field: str
    message: str
    line: int | None = None
    column: int | None = None


class Invalid(RequestError):
    """A body that is well-formed but does not validate. The message is that of the first problem."""

    status = 422

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(problems[0].message)
        self.problems = tuple(problems)


class BuildError(RapidFlowError):
    """Why a build failed, in words for the person who reads its log."""


class ContainerLost(BuildError):
    """The container of a build is gone, and nothing of the build is the reason."""

    cause = "engine_lost"


class ServiceFailed(BuildError):
    """A service of the build did not come up, or ended while the build ran."""

    cause = "service_failed"


class EngineUnavailable(RapidFlowError):
    """The container engine does not answer."""

    cause = "engine_lost"


def one_line(text: str) -> str:
    """The text of others, such as what a program printed, as part of a sentence: in one line."""
    return " ".join(text.split())
