"""What the log viewer asks, besides the bytes that the stream gives it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from quart import Response

from rapidflow_web.db import job_steps, jobs
from rapidflow_web.errors import Invalid, LogUnreadable, Problem
from rapidflow_web.logs import line_map as log_map
from rapidflow_web.logs import search
from rapidflow_web.logs.log import Log
from rapidflow_web.pages.blueprint import blueprint
from rapidflow_web.web.disconnect import until_disconnect
from rapidflow_web.web.gate import client_key
from rapidflow_web.web.requests import Flag, Model, Number, query
from rapidflow_web.web.responses import json_response
from rapidflow_web.web.services import services

_MOST_TIMES = 2_000
_LONGEST_PATTERN = 1_000


class _After(Model):
    after: Number | None = None


class _Part(Model):
    start: Number = 0
    end: Number = 0


class _Search(Model):
    q: str = ""
    case: Flag = False
    regex: Flag = False


@blueprint.get("/ui/jobs/<job_id>/log/map")
async def show_log_map(job_id: int) -> Response:
    """Where the lines and the steps of a log stand."""
    after = query(_After).after
    log, steps = await _log(job_id), await job_steps.of_job(job_id)
    size, lines, sealed, final = log.size, log.lines, log.sealed, log.layout.final
    known = {step.id: step for step in steps}
    spans = [(span, known[span.step_id]) for span in log.layout.spans if span.step_id in known]
    points = await asyncio.to_thread(
        log_map.points, log.path.with_suffix(".index"), size, -1 if after is None else after
    )
    return json_response(
        {
            "size": size,
            "lines": lines,
            "sealed": sealed,
            "final_line": None if final is None else lines - (await log.read(final)).count(b"\n"),
            "points": points,
            "steps": [
                {
                    "id": step.id,
                    "order_num": step.order_num,
                    "type": step.type,
                    "name": step.name or _first_line(step.content),
                    "status": step.status,
                    "exit_code": step.exit_code,
                    "started_at": step.started_at,
                    "finished_at": step.finished_at,
                    "header": span.header,
                    "start": span.start,
                    "first_line": span.first_line,
                    "end": span.end,
                }
                for span, step in spans
            ],
        },
    )


@blueprint.get("/ui/jobs/<job_id>/log/times")
async def show_log_times(job_id: int) -> Response:
    """When the bytes of a part of a log were written."""
    log, part = await _log(job_id), query(_Part)
    end = min(part.end, log.size)
    times = await asyncio.to_thread(
        log_map.times, log.path.with_suffix(".index"), log.size, part.start, end, _MOST_TIMES
    )
    return json_response({"times": times})


@blueprint.get("/ui/jobs/<job_id>/log/search")
async def search_log(job_id: int) -> Response:
    """The lines of a log that match."""
    log, wanted = await _log(job_id), query(_Search)
    if not wanted.q:
        raise Invalid([Problem("q", "say what to search for")])
    if len(wanted.q) > _LONGEST_PATTERN:
        raise Invalid([Problem("q", f"at most {_LONGEST_PATTERN} characters can be searched for")])
    if "\n" in wanted.q:
        raise Invalid([Problem("q", "a search finds single lines; leave out the line break")])
    try:
        found = await until_disconnect(
            search.search(log, wanted.q, case=wanted.case, regex=wanted.regex, who=client_key())
        )
    except search.SearchFailed as error:
        raise LogUnreadable(str(error)) from None
    except search.CannotSearch as error:
        raise Invalid([Problem("q", str(error))]) from None
    return json_response(found)


@blueprint.get("/ui/jobs/<job_id>/log/outline")
async def show_log_outline(job_id: int) -> Response:
    """The groups that a build printed, and where it first says what went wrong."""
    log = await _log(job_id)
    by_status = {step.status: step.id for step in reversed(await job_steps.of_job(job_id))}
    failed = by_status.get("failed")
    made: dict[str, Any] = {"groups": [], "error": None, "styles": [], "styles_until": 0, "size": 0}
    with contextlib.suppress(search.CannotSearch):
        suspect = failed if failed is not None else by_status.get("running")
        made = await until_disconnect(
            services().outlines.of(log, suspect, has_failed=failed is not None, who=client_key())
        )
    return json_response(made)


async def _log(job_id: int) -> Log:
    job = await jobs.existing(job_id)
    log = services().logs.open(job_id)
    log.expect(job.log_size)
    return log


def _first_line(script: str) -> str:
    return script.strip().splitlines()[0]
