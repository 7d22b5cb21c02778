"""What the server needs: memory under a large log, requests per second, at rest."""

from __future__ import annotations

import asyncio
import re
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from bench.table import Row, median
from rapidflow_web.db import jobs, pipelines
from rapidflow_web.db.database import close_database, open_database, sqlite_url
from rapidflow_web.logs import stream_text
from rapidflow_web.logs.log import LogStore
from rapidflow_web.pipeline.definition import StepDefinition
from tests.support.server import Server

_BYTES = 200_000_000
_JOBS = 1000
_CONNECTIONS = 32
_STARTS = 5


def memory(server: Server, image: str) -> Row:
    """The most memory the server has while a large log is written, followed and fetched as JSON."""
    assert server.process is not None
    process = Path(f"/proc/{server.process.pid}")
    (process / "clear_refs").write_text("5")  # begin a new peak
    lines = _BYTES // 100
    step = f"yes {'x' * 99} | head -n {lines}"
    job = server.start_job({"name": "bench memory", "image": image, "steps": [step]})
    sizes: list[int] = []
    threads = [
        threading.Thread(
            target=lambda: sizes.append(_drain(f"{server.url}/jobs/{job}/logs/stream?follow=true"))
        )
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sizes.append(_drain(f"{server.url}/jobs/{job}/logs"))
    sizes.append(_drain(f"{server.url}/jobs/{job}/details"))
    peak = int(re.search(r"VmHWM:\s+(\d+)", (process / "status").read_text())[1]) / 1024  # type: ignore[index]
    complete = all(size >= lines * 100 for size in sizes)
    return Row(
        "memory with a 200 MB log",
        "under 150 MB",
        f"{peak:.0f} MB at most, {'all bytes' if complete else 'BYTES MISSING'}",
        "",
        complete and peak < 150,
    )


def _drain(url: str) -> int:
    done = subprocess.run(
        ["curl", "-sN", "-o", "/dev/null", "-w", "%{size_download}", url], capture_output=True
    )
    return int(done.stdout)


def details() -> Row:
    """Details of jobs, any of a thousand that are stored, with 32 connections."""
    with tempfile.TemporaryDirectory() as name:
        data = Path(name) / "data"
        data.mkdir()
        asyncio.run(_store(data))
        server = Server(data, executor="process").start()
        try:
            script = Path(name) / "random.lua"
            path = f'"/jobs/" .. math.random({_JOBS}) .. "/details"'
            script.write_text(f'request = function() return wrk.format("GET", {path}) end\n')
            rates = {}
            begin = time.perf_counter()
            for job_id in range(1, _JOBS + 1):
                assert server.get(f"/jobs/{job_id}/details").status == 200
            first = (time.perf_counter() - begin) / _JOBS * 1000
            for what, address in (("details", None), ("health", "/health")):
                command = ["wrk", "-t1", f"-c{_CONNECTIONS}", "-d4s", f"{server.url}{address or '/'}"]
                if address is None:
                    command += ["-s", str(script)]
                output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
                if "Non-2xx" in output:
                    raise AssertionError(output)
                rates[what] = float(re.search(r"Requests/sec:\s+([\d.]+)", output)[1])  # type: ignore[index]
        finally:
            server.stop()
    return Row(
        f"GET /jobs/:id/details, {_JOBS} jobs, {_CONNECTIONS} connections",
        "over 1,500/s",
        f"{rates['details']:.0f}/s",
        f"/health {rates['health']:.0f}/s; the first time of each {first:.1f} ms",
        rates["details"] > 1500,
    )


async def _store(data: Path) -> None:
    config = "name: bench\nsteps: [make, make test]\n"
    steps = [StepDefinition("make"), StepDefinition("make test")]
    await open_database(sqlite_url(data / "rapidflow.db"))
    store = LogStore(data / "logs")
    pipeline = await pipelines.create("bench", config)
    fields = {"pipeline_id": pipeline.id, "definition_id": pipeline.definition_id, "started_by": "bench"}
    for _ in range(_JOBS):
        job = await jobs.create(fields, steps, {"CI": "true"})
        await jobs.transition(job.id, "pending", "running", started_at=job.created_at)
        writer = store.writer(job.id)
        for number, step in enumerate(await jobs.steps_of(job.id), 1):
            await writer.begin_step(step.id, number, step.type, 0)
            await writer.append(b"compiling\nlinking\ndone\n" * 5, 0)
            await writer.end_step(0, 0)
            await jobs.begin_step(step.id, job.created_at)
            await jobs.end_step(step.id, "success", 0, job.created_at)
        await jobs.finish(job.id, "success", None)
        await writer.seal(stream_text.final_lines("success", None))
        await jobs.update(job.id, log_size=writer.log.size)
    await close_database()


def at_rest() -> Row:
    """Memory of a server that has nothing to do, and the time from its start to its first answer."""
    with tempfile.TemporaryDirectory() as name:
        server = Server(Path(name) / "data")
        server.start()  # the database is there from now on
        times = list[float]()
        for _ in range(_STARTS):
            server.stop()
            begin = time.perf_counter()
            server.start(wait=False)
            # In small steps: each is as much as a tenth of a start where `start` itself waits.
            while not server.answers():
                time.sleep(0.005)
            times.append(time.perf_counter() - begin)
        time.sleep(2)
        resident = server.memory / 1024**2
        server.stop()
    seconds = median(times)
    return Row(
        "at rest; start to first answer",
        "under 75 MiB; under 0.9 s",
        f"{resident:.1f} MiB; {seconds:.2f} s",
        "",
        resident < 75 and seconds < 0.9,
    )
