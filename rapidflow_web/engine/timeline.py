"""What happens to a job before its first step: queued, image, source, container."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from dataclasses import asdict, dataclass
from typing import Any

from rapidflow_web.db.database import now_ms


@dataclass(slots=True)
class Phase:
    """One phase. Times are milliseconds since 1970; `detail` is a sentence, also on how far it is."""

    name: str
    started_at: int
    finished_at: int | None = None
    detail: str | None = None
    failed: bool = False

    def note(self, detail: str) -> None:
        """Says how far the phase is; replaces what was said before."""
        self.detail = detail

    def finish(self) -> None:
        """Takes note of the end; the first one counts."""
        if self.finished_at is None:
            self.finished_at = now_ms()


class Timeline:
    """The phases of a job, in the order they began."""

    def __init__(self, stored: list[dict[str, Any]]) -> None:
        self.phases = [Phase(**entry) for entry in stored]

    def begin(self, name: str, started_at: int | None = None) -> Phase:
        """Begins a phase that the caller finishes."""
        phase = Phase(name, started_at if started_at is not None else now_ms())
        self.phases.append(phase)
        return phase

    @contextlib.contextmanager
    def phase(self, name: str) -> Generator[Phase]:
        """A phase that lasts as long as the block, and failed if the block raised."""
        phase = self.begin(name)
        try:
            yield phase
        except Exception as error:
            phase.failed, phase.detail = True, str(error)
            raise
        finally:
            phase.finish()

    def finish(self) -> None:
        """Takes note of the end of all phases."""
        for phase in self.phases:
            phase.finish()

    def stored(self) -> list[dict[str, Any]]:
        """The timeline as the database holds it."""
        return [asdict(phase) for phase in self.phases]
