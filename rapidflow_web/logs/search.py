"""Search and outline of a log. `scan.py` does the work, in a process that is killed when it takes long.

Or when nobody wants to know any more: what is cancelled here leaves no process behind. Everybody has one
search and one outline at a time, so that slow ones of one user keep no others waiting; outlines, which come
with each page, don't wait for searches.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import logging
import os
import signal
import sys
import tempfile
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from rapidflow_web.errors import RapidFlowError, TooManyRequests
from rapidflow_web.logs.files import File, PlainFile, open_file
from rapidflow_web.logs.log import CHUNK, Log
from rapidflow_web.shielding import to_the_end

_log = logging.getLogger(__name__)

_SCAN = Path(__file__).with_name("scan.py")
_SECONDS = 10
_TOO_LONG = "this takes too long to search for; make the expression simpler"
_LONGEST_REASON = 200
_AT_ONCE = 2
_MOST_WAITING = 20
_RETRY = 1.0
"""Seconds after which somebody who asked for too much at once may ask again."""


def _packages() -> str:
    engine = importlib.util.find_spec("re2")
    if engine is None or engine.origin is None:
        raise ModuleNotFoundError("google-re2 is not installed")
    return str(Path(engine.origin).parent.parent)


_PACKAGES = _packages()
"""Where the engine for regular expressions is; `scan.py` starts without any packages."""


@dataclass(slots=True)
class _Turns:
    asked: int = 0
    one: asyncio.Lock = field(default_factory=asyncio.Lock)


class _Slots:
    """Slots for something slow: so many at once, and one for each who asks."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._all = asyncio.Semaphore(_AT_ONCE)
        self._of: dict[str, _Turns] = {}

    @contextlib.asynccontextmanager
    async def turn(self, who: str) -> AsyncGenerator[None]:
        """Waits for a slot, and holds it. Raises `TooManyRequests`."""
        turns = self._of.setdefault(who, _Turns())
        if turns.asked >= _MOST_WAITING:
            raise TooManyRequests(f"you have {turns.asked} {self._what} waiting; let one end first", _RETRY)
        turns.asked += 1
        try:
            async with turns.one, self._all:
                yield
        finally:
            turns.asked -= 1
            if not turns.asked:
                del self._of[who]


_searches, _outlines = _Slots("searches"), _Slots("outlines")


class CannotSearch(RapidFlowError):
    """The pattern can't be searched for; the message says why."""


class SearchFailed(CannotSearch):
    """It is not the pattern's fault that nothing was searched; the message says why."""


async def search(log: Log, text: str, *, case: bool, regex: bool, who: str = "") -> dict[str, Any]:
    """The lines of a log that match `text`, counted from 0: `count`, `lines` (the first of them), `complete`.

    `who` asks for it. Regular expressions are those of RE2. Raises `CannotSearch`, `TooManyRequests`.
    """
    request = {"search": {"text": text, "case": case, "regex": regex}, "packages": _PACKAGES}
    async with _searches.turn(who):
        answer = await _scan(log, request)
    if "error" in answer:
        raise CannotSearch(f"this is not a regular expression: {answer['error']}")
    return answer


async def outline(log: Log, failed_step: int | None, *, who: str = "") -> dict[str, Any]:
    """The groups that a build printed, and the first error in the step with the id `failed_step`.

    `{"groups": [{"line", "end", "title", "closed"}], "error": {"line", "offset"} or None}`; lines count
    from 0. `who` asks for it. Raises `CannotSearch`, `TooManyRequests`.
    """
    steps = [[span.start, log.size if span.end is None else span.end] for span in log.layout.spans]
    span = log.layout.span(failed_step) if failed_step is not None else None
    failed = [span.start, log.size if span.end is None else span.end] if span is not None else None
    async with _outlines.turn(who):
        return await _scan(log, {"outline": {"steps": steps, "failed": failed}})


async def _scan(log: Log, request: dict[str, Any]) -> dict[str, Any]:
    try:
        file = open_file(log.path)
    except FileNotFoundError:
        return await _run(log.path, 0, request)  # nothing was written yet
    except OSError as error:
        raise _failure(error) from error
    if isinstance(file, PlainFile):
        return await _run(log.path, log.size, request)
    try:
        # On the disk, because a log may be larger than memory; it has no name, and goes when it is closed.
        with tempfile.TemporaryFile(dir=log.path.parent) as plain:
            await to_the_end(asyncio.to_thread(_unpack, file, log.size, plain))
            return await _run(Path(f"/proc/{os.getpid()}/fd/{plain.fileno()}"), log.size, request)
    except OSError as error:
        raise _failure(error) from error  # to close the file may fail as well, on a full disk


def _unpack(file: File, size: int, plain: IO[bytes]) -> None:
    for offset in range(0, size, CHUNK):
        plain.write(file.read(offset, min(CHUNK, size - offset)))
    plain.flush()


def _failure(error: OSError) -> SearchFailed:
    return SearchFailed(f"this log can't be searched now: {error.strerror or error}")


async def _run(path: Path, size: int, request: dict[str, Any]) -> dict[str, Any]:
    """What `scan.py` answers. When it is cancelled, the process is gone."""
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", str(_SCAN), str(path), str(size)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise _failure(error) from error
    try:
        async with asyncio.timeout(_SECONDS):
            answer, complaints = await process.communicate(
                json.dumps({"seconds": 2 * _SECONDS, **request}).encode()
            )
    except TimeoutError:
        raise CannotSearch(_TOO_LONG) from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()  # its end is not noticed before its output is read
    if process.returncode != 0:
        raise _told(process.returncode or 0, complaints)
    return json.loads(answer)


def _told(code: int, complaints: bytes) -> CannotSearch:
    """Why a scan ended without an answer."""
    if -code in (signal.SIGALRM, signal.SIGXCPU):
        return CannotSearch(_TOO_LONG)
    if b"MemoryError" in complaints or b"bad_alloc" in complaints:
        return CannotSearch("this takes too much memory to search for; make the expression simpler")
    words = complaints.decode("utf-8", "replace").strip().splitlines()
    reason = words[-1][:_LONGEST_REASON] if words else ""
    _log.error("a search ended with code %d: %s", code, reason or "it said nothing")
    if code < 0:
        return SearchFailed(f"the search was ended by signal {-code}; try again")
    return SearchFailed("the search failed; the server's log says why")
