"""The stream of a job's log: what the browser, `curl` and our own command read."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection
from dataclasses import dataclass

from quart import Blueprint, Response, request

from rapidflow_web.api import part_stream, query_schemas
from rapidflow_web.api.openapi import Text, header, operation, text
from rapidflow_web.builds.plan import definition_of
from rapidflow_web.db import job_steps, jobs
from rapidflow_web.db.models import Job
from rapidflow_web.errors import BadRequest, BuildError, Invalid, NotFound, RangeNotSatisfiable
from rapidflow_web.logs.log import Log
from rapidflow_web.web.gate import reader
from rapidflow_web.web.services import services
from rapidflow_web.web.streaming import LogBody, LongBody

blueprint = Blueprint("stream", __name__)

_RANGE = re.compile(r"bytes=([0-9]{0,1000})-([0-9]{0,1000})")

_OFFSET = header(
    "The position of the first byte; add the number of bytes received to get the `offset` to resume from.",
    "integer",
)
_LENGTH = header("The size in bytes, if the build has finished.", "integer")
_ACCEPTS = header("`bytes`, if the build has finished.")
_ANSWER = Text(
    text_errors=True,
    request_headers={"Range": "`bytes=N-`, `bytes=N-M`, or, if the build has finished, `bytes=-N`."},
    responses={
        "200": {
            "description": "The stream. With `follow` it ends when the build ends. An interrupted stream "
            "has no last chunk; resume it with `offset`.",
            "headers": {"RapidFlow-Offset": _OFFSET, "Content-Length": _LENGTH, "Accept-Ranges": _ACCEPTS},
            "content": text(),
        },
        "206": {
            "description": "The requested range of the stream.",
            "headers": {
                "RapidFlow-Offset": _OFFSET,
                "Content-Range": header(
                    "`bytes N-M/SIZE`; while the build runs, SIZE is `*`, and so is M if it is unknown."
                ),
                "Content-Length": _LENGTH,
                "Accept-Ranges": _ACCEPTS,
            },
            "content": text(),
        },
        "416": {
            "description": "The range begins past the end of a finished build's log.",
            "headers": {"Content-Range": header("`bytes */SIZE`")},
            "content": text(),
        },
    },
)


_UNBUFFERED = {"X-Accel-Buffering": "no"}
"""Has nginx pass on a live log as it is written, also where its configuration does not say so."""


@dataclass(frozen=True, slots=True)
class _Part:
    """Bytes of the stream from `first` to `end`, or with `end` None to wherever the build ends."""

    first: int
    end: int | None
    content_range: str | None = None


@blueprint.get("/jobs/<job_id>/logs/stream")
@operation(_ANSWER, query=query_schemas.StreamQuery)
async def stream_job_logs(query: query_schemas.StreamQuery, job_id: int) -> Response:
    """Stream the log of a job as plain text, live while the build runs.

    The bytes never change, so a byte position stays valid: live, replayed, and after a restart.
    """
    if query.tail is not None and query.offset is not None:
        raise BadRequest("give either 'tail' or 'offset', not both")
    job = await jobs.existing(job_id)
    log = services().logs.open(job.id)
    log.expect(job.log_size)
    if job.parts is not None and query.since:
        return await _without_parts(job, log, query)
    return await _answer(log, log.sealed, query, job.pipeline_id)


@blueprint.get("/jobs/<job_id>/services/<name>/logs")
@operation(_ANSWER, query=query_schemas.ServiceLogQuery)
async def get_service_logs(query: query_schemas.ServiceLogQuery, job_id: int, name: str) -> Response:
    """Get the log of a service of a job as plain text, live while the build runs.

    It has what the service printed to its standard output and error, until the steps had ended.
    """
    job = await jobs.with_definition(job_id)
    if name not in await _services_of(job):
        raise NotFound(f"job {job_id} has no service '{name[:63]}'")
    log, whole = services().logs.open(job_id, name), services().logs.open(job_id)
    # The logs of services end with that of their job, also those that never began.
    finished = log.sealed or whole.sealed
    if job.log_size is not None:  # which is stored when all of them have ended
        log.expect_sealed()
    wanted = query_schemas.StreamQuery.model_construct(follow=query.follow, offset=query.offset)
    return await _answer(log, finished, wanted, job.pipeline_id)


async def _services_of(job: Job) -> Collection[str]:
    execution = services().supervisor.execution(job.id)
    if execution is not None:
        return execution.service_names
    try:
        return {one.name for one in (await asyncio.to_thread(definition_of, job)).services}
    except (Invalid, BuildError):
        return ()  # that of an earlier version, or of another job of this number


async def _answer(log: Log, finished: bool, query: query_schemas.StreamQuery, pipeline_id: int) -> Response:
    part = _wanted(await _whole(log, query, finished), finished)
    if finished:
        # What can't be read is said while there still is a status to say it with.
        await log.read((log.layout.after(query.since) or 0) + part.first, 1)

    headers = {
        "Content-Type": "text/plain; charset=utf-8",
        "RapidFlow-Offset": str(part.first),
    }
    if finished and part.end is not None:
        headers |= {"Accept-Ranges": "bytes", "Content-Length": str(part.end - part.first)}
    if part.end is None:
        headers |= _UNBUFFERED
    if part.content_range is not None:
        headers["Content-Range"] = part.content_range
    end = part.first if request.method == "HEAD" else part.end
    body = LogBody(
        log,
        services().streams,
        reader(pipeline_id),
        lambda: log.layout.after(query.since),
        part.first,
        end,
        request.scope["state"].get("connection") if end is None and request.http_version == "1.1" else None,
    )
    response = Response(body, 200 if part.content_range is None else 206, headers)
    response.timeout = None
    return response


async def _without_parts(job: Job, log: Log, query: query_schemas.StreamQuery) -> Response:
    """The log of a build of several jobs without the lines about the parts that `since` leaves out.

    Ranges are those of the whole log, so they are ignored here.
    """
    left_out = {step.content.encode() for step in await job_steps.of_job(job.id) if step.id <= query.since}
    follow = query.follow and not log.sealed and request.method != "HEAD"
    first, length = query.offset or 0, None
    if not follow or query.tail is not None:
        lines = [line async for line in part_stream.without(log, left_out, follow=False)]
        length = sum(map(len, lines))
        if query.tail is not None:
            kept = b"".join(lines).splitlines(keepends=True)
            first = length - sum(map(len, kept[max(0, len(kept) - query.tail) :]))
        if log.sealed and first > length:
            raise RangeNotSatisfiable(f"the log has {length} bytes; offset {first} is past its end", length)
    pieces = part_stream.after(part_stream.without(log, left_out, follow=follow), first)
    headers = {"Content-Type": "text/plain; charset=utf-8", "RapidFlow-Offset": str(first)}
    if log.sealed and length is not None:
        headers["Content-Length"] = str(length - first)
    if follow:
        headers |= _UNBUFFERED
    response = Response(LongBody(services().streams, reader(job.pipeline_id), pieces), 200, headers)
    response.timeout = None
    return response


async def _whole(log: Log, query: query_schemas.StreamQuery, finished: bool) -> _Part:
    """What the query asks for. Positions count from the beginning of what `since` leaves."""
    begin = log.layout.after(query.since)
    first = query.offset or 0
    if query.tail is not None and begin is not None:
        first = await log.tail(query.tail, begin) - begin
    # Only now: the log may have grown meanwhile.
    length = log.size - begin if begin is not None else 0
    if finished and first > length:
        raise RangeNotSatisfiable(f"the log has {length} bytes; offset {first} is past its end", length)
    return _Part(first, length if finished or not query.follow else None)


def _wanted(whole: _Part, finished: bool) -> _Part:
    """What the Range header asks for of the whole, or the whole where there is none that can be served.

    A range of any other form is ignored, as HTTP wants it.
    """
    match = _RANGE.fullmatch(request.headers.get("Range", ""))
    if match is None or match.groups() == ("", ""):
        return whole
    start, last = (int(number) if number else None for number in match.groups())
    if whole.end is None:
        # A followed stream ends where the build does, so it can begin late, but not end early.
        if start is None or last is not None:
            return whole
        return _Part(whole.first + start, None, f"bytes {start}-*/*")
    size = max(0, whole.end - whole.first)
    if start is None:
        if not finished:
            return whole  # nobody knows yet which bytes are the last
        start, last = max(0, size - (last or 0)), None
    if last is not None and last < start:
        return whole
    if finished and start >= size:
        raise RangeNotSatisfiable(f"the log has {size} bytes; byte {start} is past its end", size)
    stop = size if last is None else min(last + 1, size)
    # Where a build has not come that far, clients that resume still want to see where it begins.
    until = str(stop - 1) if stop > start else "*"
    return _Part(
        whole.first + start,
        whole.first + max(start, stop),
        f"bytes {start}-{until}/{size if finished else '*'}",
    )
