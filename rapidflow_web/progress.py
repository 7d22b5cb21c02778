"""How far long work is, as whoever waits for it is told."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Protocol

from rapidflow_web.terminal import shown_size

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_EVERY = 0.25


class Progress(Protocol):
    """Takes a sentence on how far something is, and how much of it is done, from 0 to 1, where that is known.

    Both replace what was said before.
    """

    def __call__(self, detail: str, done: float | None = None, /) -> object: ...


class Paced:
    """Passes on at most one in `every` seconds to `progress`, the first one at once, and drops the others.

    For what is printed. Where only the last one counts, none may be dropped: work may stand still after it.
    """

    def __init__(
        self, progress: Progress, every: float = _EVERY, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._progress = progress
        self._every = every
        self._clock = clock
        self._next: float | None = None

    def wait(self) -> None:
        """Lets pass the time between two of them before the next one."""
        self._next = self._clock() + self._every

    def __call__(self, detail: str, done: float | None = None) -> None:
        if self._next is None or self._clock() >= self._next:
            self.wait()
            self._progress(detail, done)


class ByteCount:
    """Adds up bytes, and tells `progress` how many of `total` they are, which may be None."""

    def __init__(self, progress: Progress, total: int | None = None) -> None:
        self._progress = progress
        self._total = total
        self._count = 0

    def expect(self, total: int) -> None:
        """There will be so many."""
        self._total = total

    def add(self, count: int) -> None:
        """There are so many more."""
        self._count += count
        if self._total:
            # The total may have been an estimate.
            total = max(self._total, self._count)
            self._progress(f"{shown_size(self._count)} of {shown_size(total)}", self._count / total)
        else:
            self._progress(shown_size(self._count))


class Counted(io.RawIOBase):
    """A file of which all that is read or written is counted."""

    def __init__(self, file: IO[bytes], count: ByteCount) -> None:
        self._file = file
        self._count = count

    def read(self, size: int = -1, /) -> bytes:
        data = self._file.read(size)
        self._count.add(len(data))
        return data

    def write(self, data: ReadableBuffer, /) -> int:
        count = self._file.write(data)
        self._count.add(count)
        return count


@dataclass(frozen=True, slots=True)
class Far:
    """How far something is, as `Progress` was told."""

    detail: str
    done: float | None = None


def about(what: str, progress: Progress) -> Progress:
    """A progress of which each sentence begins with what it is about."""
    return lambda detail, done=None: progress(f"{what}: {detail}", done)


def untold(_detail: str, _done: float | None = None) -> None:
    """Where nobody is told."""
