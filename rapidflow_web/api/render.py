"""Makes what the API sends. The order of keys is part of the contract; `schemas.py` documents the shapes."""

from __future__ import annotations

import codecs
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from json import encoder
from typing import Any

from quart import Response

from rapidflow_web.db.models import Environment, Job, Pipeline, Step
from rapidflow_web.engine.timeline import Phase
from rapidflow_web.logs.log import Log
from rapidflow_web.web.responses import encode

_EAGER_BYTES = 256 * 1024
"""Up to this size a response is made at once, and has a Content-Length."""

_escape = encoder.encode_basestring


def time(milliseconds: int | None) -> str | None:
    """A time as the API writes it."""
    if milliseconds is None:
        return None
    return datetime.fromtimestamp(milliseconds // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def job(row: Job) -> dict[str, Any]:
    """A job."""
    return {
        "id": row.id,
        "pipeline_id": row.pipeline_id,
        "status": row.status,
        "branch": row.branch,
        "repo_name": row.repo_name,
        "language": row.language,
        "version": row.version,
        "folder": row.folder,
        "expose_ports": row.expose_ports,
        "cancelled": row.cancelled,
        "container_id": row.container_id,
        "created_at": time(row.created_at),
        "started_at": time(row.started_at),
        "finished_at": time(row.finished_at),
        "error": row.error,
        "commit": row.commit,
        "retry_of": row.retry_of,
        "ports": row.ports,
        "image": row.image,
        "started_by": row.started_by,
    }


def pipeline(row: Pipeline) -> dict[str, Any]:
    """A pipeline with its definition."""
    return {
        "id": row.id,
        "name": row.definition.name,
        "config": row.definition.config,
        "created_at": time(row.created_at),
        "updated_at": time(row.updated_at),
    }


def snapshot(row: Job) -> dict[str, Any]:
    """The pipeline that a job ran with."""
    return {"id": row.pipeline_id, "name": row.definition.name, "config": row.definition.config}


def environment(row: Environment) -> dict[str, Any]:
    """A variable of a job."""
    return {"id": row.id, "job_id": row.job_id, "key": row.key, "value": row.value}


def phase(entry: Phase) -> dict[str, Any]:
    """A phase of a job's timeline."""
    return {
        "name": entry.name,
        "started_at": time(entry.started_at),
        "finished_at": time(entry.finished_at),
        "duration_ms": None if entry.finished_at is None else entry.finished_at - entry.started_at,
        "detail": entry.detail,
        "failed": entry.failed,
    }


class Output:
    """Where a step's output goes in a JSON value: it is read from the log while it is sent."""

    def __init__(self, log: Log, step_id: int) -> None:
        span = log.layout.span(step_id)
        self._log = log
        self.start = span.start if span else 0
        # Fixed here, so that a step that runs on is cut at one place.
        self.end = (log.size if span.end is None else span.end) if span else 0

    async def pieces(self) -> AsyncIterator[bytes]:
        """The output as a JSON string."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        position = self.start
        yield b'"'
        while position < self.end:
            chunk = await self._log.read(position, min(_EAGER_BYTES, self.end - position))
            if not chunk:
                break
            position += len(chunk)
            yield _escape(decoder.decode(chunk, position >= self.end))[1:-1].encode()
        yield b'"'


def step(row: Step, log: Log) -> dict[str, Any]:
    """A step."""
    return {
        "id": row.id,
        "job_id": row.job_id,
        "order_num": row.order_num,
        "type": row.type,
        "content": row.content,
        "status": row.status,
        "output": Output(log, row.id),
        "created_at": time(row.created_at),
        "name": row.name,
        "exit_code": row.exit_code,
        "started_at": time(row.started_at),
        "finished_at": time(row.finished_at),
    }


def step_log(row: Step, log: Log, *, with_job: bool) -> dict[str, Any]:
    """One step's log."""
    return {
        "step_id": row.id,
        **({"job_id": row.job_id} if with_job else {}),
        "order_num": row.order_num,
        "type": row.type,
        "content": row.content,
        "status": row.status,
        "output": Output(log, row.id),
        "created_at": time(row.created_at),
    }


async def response(value: Any) -> Response:
    """A JSON response of a value with outputs in it: flat in memory, however long they are."""
    parts = list(_parts(value))
    size = sum(part.end - part.start for part in parts if isinstance(part, Output))
    if size <= _EAGER_BYTES:
        body = b"".join([piece async for piece in _pieces(parts)])
        return Response(body, content_type="application/json")
    streamed = Response(_pieces(parts), content_type="application/json")
    streamed.timeout = None
    return streamed


def _parts(value: Any) -> Iterable[bytes | Output]:
    """JSON text with the outputs in their places."""
    if isinstance(value, Output):
        yield value
    elif isinstance(value, dict) and _has_output(value):
        separator = b"{"
        for key, item in value.items():
            yield separator + encode(key) + b":"
            yield from _parts(item)
            separator = b","
        yield b"}"
    elif isinstance(value, list) and _has_output(value):
        separator = b"["
        for item in value:
            yield separator
            yield from _parts(item)
            separator = b","
        yield b"]"
    else:
        yield encode(value)


def _has_output(value: Any) -> bool:
    items: Iterable[Any] = value.values() if isinstance(value, dict) else value
    return any(isinstance(item, Output) or (isinstance(item, dict | list) and _has_output(item)) for item in items)


async def _pieces(parts: Iterable[bytes | Output]) -> AsyncIterator[bytes]:
    for part in parts:
        if isinstance(part, bytes):
            yield part
        else:
            async for piece in part.pieces():
                yield piece
