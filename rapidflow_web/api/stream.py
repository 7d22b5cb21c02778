"""The stream of a job's log: what the browser, `curl` and our own command read."""

from __future__ import annotations

import re
from typing import Any

from quart import Blueprint, Response, request

from rapidflow_web.api import schemas
from rapidflow_web.api.jobs import existing_job
from rapidflow_web.api.operation import operation
from rapidflow_web.errors import BadRequest, RangeNotSatisfiable
from rapidflow_web.logs.log import Log
from rapidflow_web.web import requests
from rapidflow_web.web.errors import plain_text_errors
from rapidflow_web.web.services import services
from rapidflow_web.web.streaming import LogBody

blueprint = Blueprint("stream", __name__)

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")

_OFFSET_HEADER: dict[str, Any] = {
    "RapidFlow-Offset": {
        "description": "The cursor of the first byte; this plus what was received is the `offset` to go on from.",
        "schema": {"type": "integer"},
    }
}
_TEXT: dict[str, Any] = {"text/plain": {"schema": {"type": "string", "format": "binary"}}}
_RESPONSES: dict[str, Any] = {
    "200": {
        "description": "The stream. With `follow` it ends when the build ends; one that is cut off has no "
        "proper end and is resumed by `offset`.",
        "headers": _OFFSET_HEADER,
        "content": _TEXT,
    },
    "206": {
        "description": "The part of the stream that the Range header asked for.",
        "headers": {
            **_OFFSET_HEADER,
            "Content-Range": {"description": "`bytes N-M/SIZE`", "schema": {"type": "string"}},
        },
        "content": _TEXT,
    },
}


@blueprint.get("/jobs/<job_id>/logs/stream")
@operation(None, query=schemas.StreamQuery, errors=(404, 416), text=True, responses=_RESPONSES)
@plain_text_errors
async def stream_job_logs(job_id: str) -> Response:
    """Stream the log of a job as plain text, also while it is written.

    Always the same bytes, so a byte position is a cursor that stays valid: live, replayed, after a restart.
    """
    query = requests.query(schemas.StreamQuery)
    if query.tail is not None and query.offset is not None:
        raise BadRequest("give either 'tail' or 'offset', not both")
    job = await existing_job(job_id)
    return await _respond(services().logs.open(job.id), query)


async def _respond(log: Log, query: schemas.StreamQuery) -> Response:
    finished = log.sealed
    begin = log.layout.after(query.since)
    length = log.size - begin if begin is not None else 0
    first = query.offset or 0
    if query.tail is not None and begin is not None:
        first = await log.tail(query.tail, begin) - begin
    if finished and first > length:
        raise RangeNotSatisfiable(f"the log has {length} bytes; offset {first} is past its end", length)

    status, headers = 200, {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-cache"}
    end: int | None = length if finished or not query.follow else None
    if wanted := _wanted_range(length - first, finished):
        status, start, stop = 206, first + wanted[0], min(first + wanted[1], length)
        if finished and start >= length:
            raise RangeNotSatisfiable(f"the log has {length} bytes; byte {start} is past its end", length - first)
        if end is not None:
            end = max(start, stop)
            total = str(length - first) if finished else "*"
            if end > start:
                headers["Content-Range"] = f"bytes {start - first}-{end - first - 1}/{total}"
        else:
            # It has no last byte yet. Clients that resume want to see where it begins.
            headers["Content-Range"] = f"bytes {start - first}-*/*"
        first = start
    headers["RapidFlow-Offset"] = str(first)
    if finished:
        headers["Accept-Ranges"] = "bytes"

    if request.method == "HEAD":
        response = Response(b"", status, headers)
    else:
        body = LogBody(log, services().streams, lambda: log.layout.after(query.since), first, end)
        response = Response(body, status, headers)
        response.timeout = None
    response.content_length = end - first if finished and end is not None else None
    return response


def _wanted_range(length: int, finished: bool) -> tuple[int, int] | None:
    """First byte and end (not included) that the Range header asks for; None where it asks for all.

    Forms that are not supported are ignored, as HTTP wants it.
    """
    match = _RANGE.fullmatch(request.headers.get("Range", "").strip())
    if match is None or match.groups() == ("", ""):
        return None
    start, last = match.groups()
    if not start:
        # The last bytes: of a build that goes on nobody knows which these are.
        return (max(0, length - int(last)), length) if finished and int(last) else None
    if last and int(last) < int(start):
        return None
    return int(start), int(last) + 1 if last else 2**63
