"""How far a long command is: a bar where standard error is a terminal, elsewhere a line now and then."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

from rapidflow_web.progress import Paced
from rapidflow_web.terminal import note, safe

_BAR = 24
_EVERY = {True: 0.1, False: 10.0}
"""Seconds between two bars on a terminal, and between two lines elsewhere."""
_CLEAR = "\r\x1b[K"


class Meter:
    """Says how far `what` is, as a `Progress`, until it is left.

    Nothing of a bar stays on the terminal. What is over within seconds prints no line elsewhere. Where the
    result itself goes to `output`, nothing is ever printed into that, as `>FILE 2>&1` would.
    """

    def __init__(
        self, what: str, output: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._what = what
        self._stream = sys.stderr
        self._silent = output is not None and _are_one(self._stream, output)
        self._draws = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._told = Paced(self._show, _EVERY[self._draws], clock)
        self._drawn = False
        if not self._draws:
            self._told.wait()

    def __enter__(self) -> Meter:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _where: TracebackType | None
    ) -> None:
        self.clear()

    def __call__(self, detail: str, done: float | None = None, /) -> None:
        if not self._silent:
            self._told(detail, done)

    def clear(self) -> None:
        """Takes the bar off the terminal, for a line that is to be printed; the next one draws it anew."""
        if self._drawn:
            self._drawn = False
            self._write(_CLEAR)

    def _show(self, detail: str, done: float | None = None) -> None:
        percent = None if done is None else f"{int(min(max(done, 0.0), 1.0) * 100)} %"
        if not self._draws:
            note(f"{self._what}: {f'{percent}, ' if percent else ''}{detail}")
            return
        parts = [self._what]
        if percent is not None and done is not None:
            full = int(min(max(done, 0.0), 1.0) * _BAR)
            parts.append(f"[{'#' * full}{'-' * (_BAR - full)}] {percent:>5}")
        line = safe("  ".join([*parts, detail]))
        self._drawn = True
        self._write(f"{_CLEAR}{line[: self._columns() - 1]}")

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or 80
        except OSError:
            return 80

    def _write(self, text: str) -> None:
        # Nobody may be able to read it any more; the work goes on.
        with contextlib.suppress(OSError):
            self._stream.write(text)
            self._stream.flush()


def _are_one(one: TextIO, other: TextIO) -> bool:
    try:
        return os.path.sameopenfile(one.fileno(), other.fileno())
    except OSError:
        return False
