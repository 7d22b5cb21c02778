"""Search and outline of a log. `scan.py` does the work, in a process that is killed when it takes long.

Or when nobody wants to know any more: what is cancelled here leaves no process behind.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import IO, Any

from rapidflow_web.errors import RapidFlowError
from rapidflow_web.logs.files import File, PlainFile, open_file
from rapidflow_web.logs.log import CHUNK, Log
from rapidflow_web.shielding import to_the_end

_SCAN = Path(__file__).with_name("scan.py")
_SECONDS = 10
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
        try:
            file = open_file(log.path)
        except FileNotFoundError:
            return await _run(log.path, 0, request)  # nothing was written yet
        if isinstance(file, PlainFile):
            return await _run(log.path, log.size, request)
        # On the disk, because a log may be larger than memory; it has no name, and goes when it is closed.
        with tempfile.TemporaryFile(dir=log.path.parent) as plain:
            await to_the_end(asyncio.to_thread(_unpack, file, log.size, plain))
            return await _run(Path(f"/proc/{os.getpid()}/fd/{plain.fileno()}"), log.size, request)


def _unpack(file: File, size: int, plain: IO[bytes]) -> None:
    try:
        for offset in range(0, size, CHUNK):
            plain.write(file.read(offset, min(CHUNK, size - offset)))
        plain.flush()
    except OSError as error:
        raise CannotSearch(f"this log can't be searched now: {error.strerror or error}") from None


async def _run(path: Path, size: int, request: dict[str, Any]) -> dict[str, Any]:
    """What `scan.py` answers. When it is cancelled, the process is gone."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", str(_SCAN), str(path), str(size)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(_SECONDS):
            answer, _ = await process.communicate(json.dumps({"seconds": 2 * _SECONDS, **request}).encode())
    except TimeoutError:
        raise CannotSearch("this takes too long to search for; make the expression simpler") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise CannotSearch("this log can't be searched now; the machine may have too little memory")
    return json.loads(answer)
