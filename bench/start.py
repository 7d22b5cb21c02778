"""How soon a build, and a further step of it, is heard."""

from __future__ import annotations

import http.client
import subprocess
import time

from bench.table import Row, median, percentile
from tests.support.server import Server

_PAIRS = 15
_STEPS = 40
_MARK = b"first-output"


def first_output(server: Server, image: str) -> Row:
    """From the POST to the first output at a follower, against `docker run`'s own first byte."""
    pipeline = server.pipeline(
        {"name": "bench first output", "image": image, "steps": [f"echo {_MARK.decode()}"]}
    )
    ours, engine = [], []
    for pair in range(_PAIRS + 1):
        raw, job = _docker_run(image), _build(server, pipeline)
        if pair:  # the first pair warms up
            engine.append(raw)
            ours.append(job)
    over = median([a - b for a, b in zip(ours, engine, strict=True)])
    return Row(
        "start of a build to first output",
        "at most 15 ms over docker run",
        f"{median(ours):.0f} ms, {over:+.1f} ms over (median of {_PAIRS} pairs)",
        f"docker run {median(engine):.0f} ms",
        over <= 15,
    )


def _docker_run(image: str) -> float:
    begin = time.perf_counter()
    command = ["docker", "run", "--rm", image, "sh", "-c", f"echo {_MARK.decode()}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        passed = time.perf_counter() - begin
        process.stdout.read()
    return passed * 1000


def _build(server: Server, pipeline: int) -> float:
    begin = time.perf_counter()
    job = server.start_build(pipeline)
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    connection.request("GET", f"/jobs/{job}/logs/stream?follow=true")
    response = connection.getresponse()
    received = b""
    while _MARK not in received:
        if not (chunk := response.read1(65536)):
            raise AssertionError(f"the build said nothing: {server.details(job)}")
        received += chunk
    passed = time.perf_counter() - begin
    response.read()
    connection.close()
    server.wait_finished(job)
    time.sleep(0.3)  # the container's removal must not slow down the next start
    return passed * 1000


def further_step(server: Server, image: str) -> Row:
    """From the end of a step to the first output of the next one, against an exec in a running container."""
    # bash prints the time without starting a program.
    steps = ["echo $EPOCHREALTIME"] * _STEPS
    job = server.start_job({"name": "bench steps", "image": image, "steps": steps})
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    connection.request("GET", f"/jobs/{job}/logs/stream?follow=true")
    response = connection.getresponse()
    ended = 0.0
    delays: list[float] = []
    while chunk := response.read1(65536):
        now = time.time()
        for line in chunk.split(b"\n"):
            if line[:1].isdigit():
                if ended:
                    delays.append((now - ended) * 1000)
                ended = float(line)
    connection.close()
    execs = _execs(image)
    return Row(
        "a further step",
        "under 5 ms",
        f"{median(delays):.1f} ms, p95 {percentile(delays, 95):.1f} ms",
        f"docker exec {median(execs):.0f} ms",
        median(delays) < 5,
    )


def _execs(image: str) -> list[float]:
    run = ["docker", "run", "--detach", "--rm", image, "sh", "-c", "sleep 60"]
    container = subprocess.run(run, capture_output=True, text=True, check=True).stdout.strip()
    try:
        times: list[float] = []
        for _ in range(10):
            begin = time.perf_counter()
            subprocess.run(
                ["docker", "exec", container, "sh", "-c", "echo x"], capture_output=True, check=True
            )
            times.append((time.perf_counter() - begin) * 1000)
        return times
    finally:
        subprocess.run(["docker", "rm", "--force", container], capture_output=True, check=True)
