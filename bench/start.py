"""How soon a build, and a further step of it, is heard."""

from __future__ import annotations

import http.client
import subprocess
import time

from bench.table import Row, median, percentile
from tests.support.server import Server, wait_for

_PAIRS = 15
_IN_A_ROW = 10
_ROUNDS = 3
_STEPS = 40
_MARK = b"first-output"
_PAUSE = 2.0


def first_output(server: Server, image: str) -> Row:
    """From the POST to the first output at a follower after a pause, against `docker run`."""
    pipeline = _pipeline(server, image)
    ours, engine = list[float](), list[float]()
    for pair in range(_PAIRS + 1):
        raw = docker_run(image)
        _settle(server)
        time.sleep(_PAUSE)
        job = build(server, pipeline)
        if pair:  # the first pair warms up
            engine.append(raw)
            ours.append(job)
    ratio = median(ours) / median(engine)
    return Row(
        "start of a build to first output",
        "p50 at most 40 ms, p95 80 ms, 0.2 of docker run",
        f"p50 {median(ours):.0f} ms, p95 {percentile(ours, 95):.0f} ms, {ratio:.2f} of docker run",
        f"docker run {median(engine):.0f} ms",
        median(ours) <= 40 and percentile(ours, 95) <= 80 and ratio <= 0.2,
    )


def in_a_row(server: Server, image: str) -> Row:
    """Builds that begin as soon as the one before has ended, each to its first output."""
    pipeline = _pipeline(server, image)
    ours, engine = list[float](), list[float]()
    for _ in range(_ROUNDS):
        engine += [docker_run(image) for _ in range(_IN_A_ROW)]
        _settle(server)
        ours += [build(server, pipeline) for _ in range(_IN_A_ROW)]
    return Row(
        f"{_IN_A_ROW} builds right after another, first output",
        "p95 at most docker run's median",
        f"p50 {median(ours):.0f} ms, p95 {percentile(ours, 95):.0f} ms",
        f"docker run {median(engine):.0f} ms",
        percentile(ours, 95) <= median(engine),
    )


def unknown_image(server: Server, image: str) -> Row:
    """The first build in an image that nobody built in, and the same without network."""
    over = dict[str, float]()
    engine = dict[str, float]()
    for network in ("rapidflow-builds", "none"):
        pairs: list[tuple[float, float]] = []
        for number in range(_PAIRS):
            name = f"rapidflow-bench/{network}:{number}"
            _derive(image, name)
            raw = docker_run(name, "--network", network)
            # Another one, because the engine knows that now.
            subprocess.run(["docker", "rmi", "--force", name], capture_output=True, check=True)
            _derive(image, name)
            _settle(server)
            pipeline = _pipeline(server, name, **({"network": "none"} if network == "none" else {}))
            pairs.append((build(server, pipeline), raw))
        over[network] = median([ours - raw for ours, raw in pairs])
        engine[network] = median([raw for _, raw in pairs])
    return Row(
        "first build in an image",
        "at most 15 ms over docker run",
        f"{over['rapidflow-builds']:+.0f} ms; without network {over['none']:+.0f} ms",
        f"docker run {engine['rapidflow-builds']:.0f} ms; without network {engine['none']:.0f} ms",
        max(over.values()) <= 15,
    )


def _derive(image: str, name: str) -> None:
    text = f"FROM {image}\nLABEL made={time.time_ns()}\n"
    subprocess.run(
        ["docker", "build", "--quiet", "--tag", name, "-"],
        input=text,
        text=True,
        capture_output=True,
        check=True,
    )


def _pipeline(server: Server, image: str, **more: str) -> int:
    return server.pipeline(
        {"name": "bench start", "image": image, "steps": [f"echo {_MARK.decode()}"], **more}
    )


def _settle(server: Server) -> None:
    """Waits until nothing is parked or removed any more."""
    counts: list[int] = []

    def still() -> bool:
        counts.append(server.parked())
        time.sleep(0.1)
        return len(counts) > 40 and len(set(counts[-40:])) == 1

    wait_for(still, "the pool is at rest", 120)


def docker_run(image: str, *options: str) -> float:
    """Milliseconds until the first byte of a container."""
    begin = time.perf_counter()
    command = ["docker", "run", "--rm", *options, image, "sh", "-c", f"echo {_MARK.decode()}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        passed = time.perf_counter() - begin
        process.stdout.read()
    return passed * 1000


def build(server: Server, pipeline: int) -> float:
    """Milliseconds until the first output of a build; returns when it has ended."""
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
