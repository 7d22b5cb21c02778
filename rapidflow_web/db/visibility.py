"""Which pipelines whoever asks may see. Every query that can find a pipeline or a job looks through it."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

from rapidflow_web.db.models import Job


@dataclass(frozen=True, slots=True)
class Sight:
    """All pipelines but `hidden`; of these `only` those that are named, where any are."""

    hidden: frozenset[int] = frozenset()
    only: frozenset[int] | None = None

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left out."""
        return not self.hidden and self.only is None

    def shows(self, pipeline_id: int) -> bool:
        """Whether this pipeline, with its jobs, may be seen."""
        return pipeline_id not in self.hidden and (self.only is None or pipeline_id in self.only)

    def conditions(self, column: str) -> list[str]:
        """What of SQL leaves only the rows whose `column` is a pipeline that may be seen."""
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


WHOLE = Sight()
_sight: ContextVar[Sight] = ContextVar("sight", default=WHOLE)


def current() -> Sight:
    """The sight of whoever asks now; the server itself sees everything."""
    return _sight.get()


def narrow(sight: Sight) -> None:
    """What the present request sees from now on."""
    _sight.set(sight)


def seen(job: Job | None) -> Job | None:
    """The job, None where it may not be seen."""
    return job if job is not None and current().shows(job.pipeline_id) else None


def _numbers(ids: frozenset[int]) -> str:
    return ", ".join(str(int(number)) for number in sorted(ids))
