"""Builds of several jobs: what it costs that they are one build, and how fast a large one opens."""

from __future__ import annotations

import statistics
import time
from concurrent.futures import ThreadPoolExecutor

from bench.table import Row
from tests.support.server import Server

_PARTS = 20
_ROUNDS = 5
_LARGE = 256


def twenty_parts(server: Server, image: str) -> Row:
    """A build of 20 trivial parts, and 20 single builds at once, in turn, until all have ended."""
    values = list(map(str, range(_PARTS)))
    parts = server.pipeline(
        {"name": "parts", "image": image, "jobs": {"a": {"matrix": {"n": values}, "steps": ["true"]}}}
    )
    single = server.pipeline({"name": "single", "image": image, "steps": ["true"]})
    of_parts: list[float] = []
    of_singles: list[float] = []
    with ThreadPoolExecutor(_PARTS) as pool:
        for _ in range(_ROUNDS):
            begin = time.perf_counter()
            server.wait_finished(server.start_build(parts), seconds=120)
            of_parts.append(time.perf_counter() - begin)
            begin = time.perf_counter()
            for job_id in list(pool.map(lambda _: server.start_build(single), range(_PARTS))):
                server.wait_finished(job_id, seconds=120)
            of_singles.append(time.perf_counter() - begin)
    ratio = statistics.median(of_parts) / statistics.median(of_singles)
    return Row(
        f"a build of {_PARTS} trivial parts / {_PARTS} single builds at once",
        "at most 1.1",
        f"{ratio:.2f}",
        f"{statistics.median(of_parts):.1f} s / {statistics.median(of_singles):.1f} s",
        ratio <= 1.1,
    )


def large_lead(server: Server, _: str) -> Row:
    """How long the details and the page of a build of 256 parts take, most of which wait."""
    values = list(map(str, range(_LARGE)))
    job = {"matrix": {"n": values}, "max_parallel": 1, "steps": ["sleep 1000"]}
    job_id = server.start_job({"name": "large", "jobs": {"a": job}})
    while len(server.details(job_id)["steps"]) < _LARGE or not server.get(f"/jobs?lead_id={job_id}").json:
        time.sleep(0.05)
    took = {what: [_seconds(server, path) for _ in range(20)] for what, path in (
        ("details", f"/jobs/{job_id}/details"), ("page", f"/ui/jobs/{job_id}"),
    )}  # fmt: skip
    server.post(f"/jobs/{job_id}/cancel")
    medians = {what: statistics.median(times) * 1000 for what, times in took.items()}
    return Row(
        f"a build of {_LARGE} parts opens",
        "in under 100 ms",
        f"{medians['details']:.0f} ms (details), {medians['page']:.0f} ms (page)",
        "",
        max(medians.values()) < 100,
    )


def _seconds(server: Server, path: str) -> float:
    begin = time.perf_counter()
    assert server.get(path).status == 200
    return time.perf_counter() - begin
