"""How many requests for jobs, lists and pages the server answers, and what each costs it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from bench import many_jobs
from bench.table import Row, median
from tests.support.server import Server

_JOBS = 20_000
_SHOWN = _JOBS + 1
_CONNECTIONS = 32
_SECONDS = 4
_ROUNDS = 2
_BAR = 4.0
_PATHS = {
    "/jobs/:id": f"/jobs/{_SHOWN}",
    "/jobs of 50": "/jobs?limit=50",
    "dashboard": "/",
    "job page": f"/ui/jobs/{_SHOWN}",
}
_BEFORE = "BENCH_BEFORE"
"""The folder of an earlier version, such as a `git worktree`, that is measured in the same run."""


def requests() -> Row:
    """Requests per second and CPU time of each, beside those of an earlier version if `_BEFORE` names one."""
    before = os.environ.get(_BEFORE)
    with tempfile.TemporaryDirectory() as name:
        servers = [_server(Path(name) / "now", None)]
        try:
            if before is not None:
                servers.append(_server(Path(name) / "before", before))
            found = {what: _measured(servers, path) for what, path in _PATHS.items()}
        finally:
            for server in servers:
                server.stop()
    said = ", ".join(f"{what} {rates[0][0]:.0f}/s, {rates[0][1]:.1f} ms" for what, rates in found.items())
    # By CPU time, which others on the machine disturb less than the rate.
    gains = {what: rates[1][1] / rates[0][1] for what, rates in found.items() if len(rates) == 2}
    return Row(
        f"requests, {_JOBS:,} jobs, {_CONNECTIONS} connections; CPU time each",
        f"{_BAR:.0f} times those before" if before is not None else "",
        said,
        ", ".join(f"{what} {gain:.1f} times" for what, gain in gains.items()),
        min(gains.values()) >= _BAR if gains else None,
    )


def _server(data: Path, folder: str | None) -> Server:
    server = Server(data, executor="process")
    server.makes_tables = True
    if folder is not None:
        path = f"PYTHONPATH={folder}"
        server.program = (
            shutil.which("env") or "env",
            "-C",
            folder,
            path,
            sys.executable,
            "-m",
            "rapidflow_web",
        )
    server.start().stop()
    many_jobs.fill(data / "rapidflow.db", _JOBS)
    server.start()
    # It is built, because the page of a job without its log is never kept.
    built = server.start_job({"name": "shown", "steps": ["echo hello"]})
    assert server.wait_finished(built)["job"]["id"] == _SHOWN
    return server


def _measured(servers: list[Server], path: str) -> list[tuple[float, float]]:
    """Requests per second, and milliseconds of CPU time for each, of each server."""
    rates: list[list[float]] = [[] for _ in servers]
    costs: list[list[float]] = [[] for _ in servers]
    for _ in range(_ROUNDS):
        for server, rate, cost in zip(servers, rates, costs, strict=True):
            assert server.get(path).status == 200, path
            begin = _cpu_seconds(server)
            command = ["wrk", "-t1", f"-c{_CONNECTIONS}", f"-d{_SECONDS}s", f"{server.url}{path}"]
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            assert "Non-2xx" not in output, output
            rate.append(float(re.findall(r"Requests/sec:\s+([\d.]+)", output)[0]))
            done = int(re.findall(r"(\d+) requests in", output)[0])
            cost.append((_cpu_seconds(server) - begin) * 1000 / done)
    return [(median(rate), median(cost)) for rate, cost in zip(rates, costs, strict=True)]


def _cpu_seconds(server: Server) -> float:
    assert server.process is not None
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
