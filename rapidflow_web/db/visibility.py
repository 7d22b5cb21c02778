"""Which pipelines the sender of a request may see; every query that can find a pipeline or job obeys it."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

from rapidflow_web.db.models import Job


@dataclass(frozen=True, slots=True)
class Visibility:
    """All pipelines but `hidden`; of these `only` those that are named, where any are."""

    hidden: frozenset[int] = frozenset()
    only: frozenset[int] | None = None

    @property
    def is_unrestricted(self) -> bool:
        """Whether nothing is left out."""
        return not self.hidden and self.only is None

    def shows(self, pipeline_id: int) -> bool:
        """Whether this pipeline, with its jobs, may be seen."""
        return pipeline_id not in self.hidden and (self.only is None or pipeline_id in self.only)

    def conditions(self, column: str) -> list[str]:
        """SQL conditions that leave only the rows whose `column` is a pipeline that may be seen."""
        found: list[str] = []
        if self.hidden:
            found.append(f"{column} NOT IN ({_numbers(self.hidden)})")
        if self.only is not None:
            found.append(f"{column} IN ({_numbers(self.only) or 'NULL'})")
        return found

    def filters(self, column: str) -> dict[str, object]:
        """The same as arguments of `filter` of the ORM."""
        found: dict[str, object] = {}
        if self.hidden:
            found[f"{column}__not_in"] = sorted(self.hidden)
        if self.only is not None:
            found[f"{column}__in"] = sorted(self.only)
        return found


UNRESTRICTED = Visibility()
_current: ContextVar[Visibility] = ContextVar("visibility", default=UNRESTRICTED)


def current() -> Visibility:
    """The visibility of whoever sends the present request; the server itself sees everything."""
    return _current.get()


def set_current(visibility: Visibility) -> None:
    """Sets what the present request sees from now on."""
    _current.set(visibility)


def if_visible(job: Job | None) -> Job | None:
    """The job, None where it may not be seen."""
    return job if job is not None and current().shows(job.pipeline_id) else None


def _numbers(ids: frozenset[int]) -> str:
    return ", ".join(str(int(number)) for number in sorted(ids))
