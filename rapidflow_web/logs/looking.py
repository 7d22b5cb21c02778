"""Search and outline of a log. `scan.py` does the work, in a process that is killed when it takes long."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rapidflow_web.errors import RapidFlowError
from rapidflow_web.logs.files import PlainFile, open_file
from rapidflow_web.logs.log import CHUNK, Log

_SCAN = Path(__file__).with_name("scan.py")
_SECONDS = 10.0
_AT_ONCE = 2
_slots = asyncio.Semaphore(_AT_ONCE)


class CannotSearch(RapidFlowError):
    """The pattern can't be searched for; the message says why."""


async def search(log: Log, text: str, *, case: bool, regex: bool) -> dict[str, Any]:
    """The lines of a log that match `text`, counted from 0: `count`, `lines` (the first of them), `complete`.

    Raises `CannotSearch`.
    """
    answer = await _scan(log, {"search": {"text": text, "case": case, "regex": regex}})
    if "error" in answer:
        raise CannotSearch(f"this is not a regular expression: {answer['error']}")
    return answer


async def outline(log: Log, failed_step: int | None) -> dict[str, Any]:
    """The groups that a build printed, and the first error in the step with the id `failed_step`.

    `{"groups": [{"line", "end", "title", "closed"}], "error": {"line", "offset"} or None}`; lines count
    from 0. Raises `CannotSearch`.
    """
    steps = [[span.start, log.size if span.end is None else span.end] for span in log.layout.spans]
    span = log.layout.span(failed_step) if failed_step is not None else None
    failed = [span.start, log.size if span.end is None else span.end] if span is not None else None
    return await _scan(log, {"outline": {"steps": steps, "failed": failed}})


async def _scan(log: Log, request: dict[str, Any]) -> dict[str, Any]:
    async with _slots:
        return await asyncio.to_thread(_scan_file, log.path, log.size, request)


def _scan_file(path: Path, size: int, request: dict[str, Any]) -> dict[str, Any]:
    try:
        file = open_file(path)
    except FileNotFoundError:
        return _run(path, 0, request)  # nothing was written yet
    if isinstance(file, PlainFile):
        return _run(path, size, request)
    # On the disk and not in memory, because a log may be large; it has no name, and goes when it is closed.
    with tempfile.TemporaryFile(dir=path.parent) as plain:
        try:
            for offset in range(0, size, CHUNK):
                plain.write(file.read(offset, min(CHUNK, size - offset)))
            plain.flush()
        except OSError as error:
            raise CannotSearch(f"this log can't be searched now: {error.strerror or error}") from None
        return _run(Path(f"/proc/{os.getpid()}/fd/{plain.fileno()}"), size, request)


def _run(path: Path, size: int, request: dict[str, Any]) -> dict[str, Any]:
    try:
        done = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-I", "-S", str(_SCAN), str(path), str(size)],
            input=json.dumps(request).encode(),
            capture_output=True,
            timeout=_SECONDS,
            check=True,
        )
    except subprocess.TimeoutExpired:
        raise CannotSearch("this takes too long to search for; make the expression simpler") from None
    except subprocess.CalledProcessError:
        raise CannotSearch("this log can't be searched now; the machine may have too little memory") from None
    return json.loads(done.stdout)
