"""What happens to a job before its first step: queued, image, source, container, services.

Where the disk is full, there also is a phase of that name: disk.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

from rapidflow_web.db.database import now_ms


@dataclass(slots=True)
class Phase:
    """One phase. Times are milliseconds since 1970; `detail` is a sentence, also on how far it is.

    `done` is the part of it that is done, from 0 to 1, while that is known. It is not stored.
    """

    name: str
    started_at: int
    finished_at: int | None = None
    detail: str | None = None
    failed: bool = False
    done: float | None = None
    hide: Callable[[str], str] = field(default=str, repr=False)
    """Takes the secrets out of a sentence."""

    def note(self, detail: str, done: float | None = None) -> None:
        """Says how far the phase is; replaces what was said before."""
        self.detail, self.done = self.hide(detail), done

    def finish(self) -> None:
        """Takes note of the end; the first one counts."""
        self.done = None
        if self.finished_at is None:
            self.finished_at = now_ms()


_STORED = ("name", "started_at", "finished_at", "detail", "failed")


class Timeline:
    """The phases of a job, in the order they began. `hide` takes the secrets out of what they say."""

    def __init__(self, stored: list[dict[str, Any]], hide: Callable[[str], str] = str) -> None:
        self.phases = [Phase(**entry) for entry in stored]
        self._hide = hide

    def restart(self, queued_at: int, claimed_at: int | None) -> None:
        """Forgets the phases, for a build that is prepared anew. Only its wait stays; times are in ms."""
        self.phases = []
        self.begin("queued", queued_at).finished_at = claimed_at

    def begin(self, name: str, started_at: int | None = None) -> Phase:
        """Begins a phase that the caller finishes."""
        phase = Phase(name, started_at if started_at is not None else now_ms(), hide=self._hide)
        self.phases.append(phase)
        return phase

    @contextlib.contextmanager
    def phase(self, name: str) -> Generator[Phase]:
        """A phase that lasts as long as the block, and failed if the block raised."""
        phase = self.begin(name)
        try:
            yield phase
        except Exception as error:
            phase.note(str(error))
            phase.failed = True
            raise
        finally:
            phase.finish()

    def open(self, name: str) -> Phase | None:
        """The last phase of that name, unless it has ended."""
        return next((one for one in self.phases[::-1] if one.name == name and one.finished_at is None), None)

    def finish(self) -> None:
        """Takes note of the end of all phases."""
        for phase in self.phases:
            phase.finish()

    def stored(self) -> list[dict[str, Any]]:
        """The timeline as the database holds it."""
        return [{name: getattr(phase, name) for name in _STORED} for phase in self.phases]
