"""How long the server takes for pages with a million jobs stored."""

from __future__ import annotations

import asyncio
import http.client
import tempfile
import time
from pathlib import Path

from bench import many_jobs
from bench.table import Row, median
from rapidflow_web.db.database import close_database, open_database, sqlite_url
from tests.support.server import Server

_JOBS = 1_000_000
_TIMES = 40
_BAR = 10.0
_SETTLES = 15.0
"""Seconds."""
_PAGES = {
    "50 builds of a pipeline": "/ui/pipelines/1",
    "filtered": "/ui/pipelines/1?branch=main&status=failed",
    "old ones": "/ui/pipelines/1?before=500000",
    "a job": f"/ui/jobs/{_JOBS - 1000}",
    "dashboard with 50 pipelines": "/",
}


def pages() -> Row:
    """From request to last byte over a kept connection, of pages that were asked for before."""
    with tempfile.TemporaryDirectory() as name:
        data = Path(name) / "data"
        data.mkdir()
        asyncio.run(_make(data / "rapidflow.db"))
        many_jobs.fill(data / "rapidflow.db", _JOBS)
        server = Server(data, executor="process").start()
        try:
            # The server first looks at the last builds that failed, and each of them changes every page.
            time.sleep(_SETTLES)
            took = {what: _median(server, path) for what, path in _PAGES.items()}
            health = _median(server, "/health")
        finally:
            server.stop()
    return Row(
        f"pages with {_JOBS:,} jobs stored",
        f"50 builds under {_BAR:.0f} ms",
        ", ".join(f"{what} {milliseconds:.1f} ms" for what, milliseconds in took.items()),
        f"/health {health:.1f} ms",
        took["50 builds of a pipeline"] < _BAR,
    )


async def _make(database: Path) -> None:
    await open_database(sqlite_url(database))
    await close_database()


def _median(server: Server, path: str) -> float:
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    took: list[float] = []
    for _ in range(_TIMES):
        begin = time.perf_counter()
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        took.append((time.perf_counter() - begin) * 1000)
        assert answer.status == 200, path
    connection.close()
    return median(took[2:])
