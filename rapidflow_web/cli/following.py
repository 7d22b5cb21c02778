"""Follows a build to its end: its log, or on a terminal the parts of a build of several jobs in place."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, BinaryIO
from urllib.parse import quote

from rapidflow_web.cli import response_shapes
from rapidflow_web.cli.client import Client, ClientError, Unreachable
from rapidflow_web.cli.part_table import PartTable
from rapidflow_web.terminal import note, out, safe

_FAILED, _INTERRUPTED = 1, 130
_FINISHED = ("success", "failed", "cancelled")
_LOOK_SECONDS = 0.5
_LOOK_SECONDS_PER_PART = 0.01
_UNREAD_SECONDS = 0.1
_TAIL_LINES = 20
_MOST_TAILS = 5


def follow(client: Client, job: dict[str, Any]) -> int:
    """Follows a job that was just started until the build ends; the exit code tells how it ended."""
    job_id = str(job["id"])
    note(f"job {job_id} started")
    if why := _why_it_waits(client):
        note(f"job {job_id} waits: {why}")
    try:
        return 0 if watch(client, job_id, {}) == "success" else _FAILED
    except KeyboardInterrupt:
        note("")
        _say_it_goes_on(job_id)
        return _INTERRUPTED
    except BrokenPipeError:
        raise
    except OSError:
        _say_it_goes_on(job_id)
        raise


def watch(client: Client, job_id: str, query: dict[str, Any]) -> str:
    """Shows a job until it has ended, and returns its status. `query` says where its log begins.

    Of a build of several jobs, the ends of the logs of failed parts come last. Whatever reads standard output
    is given the log alone.
    """
    terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    if terminal and "parts" in (job := _read(client, job_id)):
        return _watch_parts(client, job, sys.stdout.buffer)
    copy(client.stream(job_id, {"follow": "true", **query}))
    status = client.status(job_id)
    if status == "failed" and "parts" in _job(client, job_id):
        show_failures(client, _parts(client, job_id), sys.stdout.buffer if terminal else sys.stderr.buffer)
    return status


def copy(chunks: Iterable[bytes], count: Callable[[int], object] = lambda _: None) -> None:
    """Prints a log as it is. `count` is told how many bytes."""
    try:
        for chunk in chunks:
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
            count(len(chunk))
    finally:
        _end_styles(sys.stdout.buffer)


def _end_styles(output: BinaryIO) -> None:
    """Ends colours that a log left on at its end: a terminal would write all that comes after it in them."""
    if output.isatty() and os.environ.get("TERM") != "dumb":
        with contextlib.suppress(OSError):  # a terminal that is gone
            output.write(b"\x1b[0m")
            output.flush()


def show_failures(client: Client, parts: Sequence[dict[str, Any]], output: BinaryIO) -> None:
    """Prints the end of the log of each part that failed, of the first few."""
    failed = [one for one in parts if one["part"]["state"] == "failed" and one["part"]["job_id"] is not None]
    for one in failed[:_MOST_TAILS]:
        part = one["part"]
        title = f"--- {one['content']}, job {part['job_id']}: {part['reason']}"
        output.write(f"\n{safe(title)}\n".encode())
        for chunk in client.stream(str(part["job_id"]), {"tail": _TAIL_LINES}):
            output.write(chunk)
        _end_styles(output)
    if len(failed) > _MOST_TAILS:
        output.write(f"\nand {len(failed) - _MOST_TAILS} more parts failed\n".encode())
    output.flush()


def _watch_parts(client: Client, job: dict[str, Any], output: BinaryIO) -> str:
    job_id = str(job["id"])
    table = PartTable(sys.stdout)
    while True:
        try:
            job = _job(client, job_id)
            parts = _parts(client, job_id)
        except Unreachable:
            table.leave()
            client.status(job_id)  # waits for the server, and says so
            continue
        table.show(parts)
        if job["status"] in _FINISHED:
            break
        time.sleep(max(_LOOK_SECONDS, _LOOK_SECONDS_PER_PART * len(parts)))
    show_failures(client, parts, output)
    error = f": {job['error']}" if job.get("error") else ""
    out(f"build {job_id} {'succeeded' if job['status'] == 'success' else job['status']}{error}")
    return job["status"]


def _read(client: Client, job_id: str) -> dict[str, Any]:
    """The job, once its definition was read, which says whether it has parts."""
    while True:
        job = _job(client, job_id)
        if job["status"] != "pending" or "definition" not in str(job.get("waits_for")):
            return job
        time.sleep(_UNREAD_SECONDS)


def _job(client: Client, job_id: str) -> dict[str, Any]:
    return client.call("GET", _path(job_id), shape=response_shapes.FOLLOWED)


def _parts(client: Client, job_id: str) -> list[dict[str, Any]]:
    return client.call("GET", f"{_path(job_id)}/steps", shape=response_shapes.PARTS)


def _path(job_id: str) -> str:
    return f"/jobs/{quote(job_id, safe='')}"


def _say_it_goes_on(job_id: str) -> None:
    note(
        f"job {job_id} goes on; 'rapidflow logs -f {job_id}' follows it, 'rapidflow cancel {job_id}' stops it"
    )


def _why_it_waits(client: Client) -> str:
    """Why a job that was just started waits; empty where it need not."""
    try:
        ready = client.call("GET", "/ready", also=(503,), shape=response_shapes.READINESS)
    except ClientError:
        return ""  # the job is started; whether it can be followed is found out by that
    if ready["status"] == "draining":
        return "the server is going to end and starts no more builds; the next one starts it"
    return "; ".join(ready[part] for part in ("database", "engine", "disk") if ready[part] != "ok")
