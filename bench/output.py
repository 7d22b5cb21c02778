"""How fast, how soon and for how many output arrives."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import secrets
import subprocess
import time
from multiprocessing.connection import Connection

from bench.table import Row, median, percentile
from tests.support.server import Server

_LINES = 2_000_000
_EXPECTED = sum(len(str(number)) + 1 for number in range(1, _LINES + 1))
_RUNS = 5
_SECRETS = 5
_FOLLOWERS = 100
_RATE = 2000
_SECONDS = 5


def throughput(server: Server, image: str) -> Row:
    """Two million short lines from a container to `curl`, first byte to last, against `docker run`."""
    pipeline = server.pipeline({"name": "bench throughput", "image": image, "steps": [f"seq {_LINES}"]})
    ours = [_build(server, pipeline) for _ in range(_RUNS)]
    exact = 0 not in ours
    size, seconds = _read(["docker", "run", "--rm", image, "seq", str(_LINES)])
    engine = size / seconds / 1e6
    return Row(
        "2,000,000 short lines to curl",
        "over 80 MB/s, byte-exact",
        f"{median(ours):.0f} MB/s ({min(ours):.0f} to {max(ours):.0f}), {'exact' if exact else 'NOT EXACT'}",
        f"docker run {engine:.1f} MB/s: {median(ours) / engine:.0f} times as fast",
        exact and median(ours) > 80,
    )


def masking(server: Server, image: str) -> Row:
    """The same lines from builds that have secrets, and from builds that have none, one after the other."""
    names = [f"SECRET_{number}" for number in range(_SECRETS)]
    for name in names:
        body = json.dumps({"value": secrets.token_urlsafe(30)})
        stored = server.request("PUT", f"/secrets/{name}", body, {"Content-Type": "application/json"})
        assert stored.status == 200, stored.text
    config = {"name": "bench masking", "image": image, "steps": [f"seq {_LINES}"]}
    plain, masked = server.pipeline(config), server.pipeline({**config, "secrets": names})
    pairs = [(_build(server, plain), _build(server, masked)) for _ in range(2 * _RUNS)]
    without, ours = median([pair[0] for pair in pairs]), median([pair[1] for pair in pairs])
    exact = all(rate for pair in pairs for rate in pair)
    return Row(
        f"the same with {_SECRETS} secrets masked",
        "at least 75 % of without, byte-exact",
        f"{ours:.0f} MB/s, {'exact' if exact else 'NOT EXACT'}",
        f"without {without:.0f} MB/s: {100 * ours / without:.0f} %",
        exact and ours >= 0.75 * without,
    )


def _build(server: Server, pipeline: int) -> float:
    """MB/s at which a build's lines arrive; 0 where not all do."""
    job = server.start_build(pipeline)
    size, seconds = _read(["curl", "-sN", f"{server.url}/jobs/{job}/logs/stream?follow=true"])
    server.wait_finished(job)
    time.sleep(0.5)
    exact = size == _EXPECTED + len("=== Step 1 (bash) ===\n\n=== Build completed ===\n")
    return size / seconds / 1e6 if exact else 0


def _read(command: list[str]) -> tuple[int, float]:
    """Bytes that a command prints, and the seconds from the first to the last of them."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdout is not None
        size = len(process.stdout.read(1))
        begin = time.perf_counter()
        while chunk := process.stdout.read(1 << 20):
            size += len(chunk)
        return size, time.perf_counter() - begin


def live_delay(server: Server, image: str) -> Row:
    """From a line's printing in the container to its arrival at a follower, ten lines a second."""
    step = "for i in $(seq 100); do echo $EPOCHREALTIME; sleep 0.1; done"
    job = server.start_job({"name": "bench live", "image": image, "steps": [step]})
    process = subprocess.Popen(
        ["curl", "-sN", f"{server.url}/jobs/{job}/logs/stream?follow=true"], stdout=subprocess.PIPE, bufsize=0
    )
    assert process.stdout is not None
    delays: list[float] = []
    while chunk := process.stdout.read(65536):
        now = time.time()
        delays += [(now - float(line)) * 1000 for line in chunk.split(b"\n") if line[:1].isdigit()]
    process.wait()
    p99 = percentile(delays, 99)
    return Row(
        "live delay of a line",
        "p99 under 5 ms",
        f"p50 {median(delays):.1f} ms, p99 {p99:.1f} ms",
        "",
        p99 < 5,
    )


def many_followers(server: Server, image: str) -> Row:
    """A hundred followers of one build; the delay of the oldest line in each piece that arrives."""
    script = (
        "import sys,time\n"
        "begin=time.time()\n"
        f"for n in range({_RATE * _SECONDS}):\n"
        f"    due=begin+n/{_RATE}\n"
        "    while (now:=time.time())<due: time.sleep(due-now)\n"
        "    sys.stdout.write(f'{time.time():.6f} line {n}\\n'); sys.stdout.flush()\n"
    )
    config = {
        "name": "bench followers",
        "image": image,
        "steps": [{"content": "sleep 1; python3 lines.py", "files": {"lines.py": script}}],
    }
    job = server.start_job(config)
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_follow_all, args=(server.port, job, there))
    process.start()
    sizes, delays = here.recv()
    process.join()
    log = len(server.get(f"/jobs/{job}/logs/stream").body)
    complete = len(sizes) == _FOLLOWERS and all(size == log for size in sizes)
    p95 = percentile(delays, 95)
    return Row(
        f"{_FOLLOWERS} followers, {_RATE} lines/s",
        "all bytes to all, p95 under 50 ms",
        f"{'all' if complete else 'NOT ALL'} bytes, p50 {median(delays):.0f} ms, p95 {p95:.0f} ms",
        "",
        complete and p95 < 50,
    )


def _follow_all(port: int, job: int, pipe: Connection) -> None:
    delays: list[float] = []

    async def follow() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
        writer.write(f"GET /jobs/{job}/logs/stream?follow=true HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        size = 0
        while length := int(await reader.readuntil(b"\r\n"), 16):
            chunk = await reader.readexactly(length + 2)
            size += length
            if chunk[:1].isdigit():
                delays.append((time.time() - float(chunk[:17])) * 1000)
        writer.close()
        return size

    async def all_of_them() -> list[int]:
        return await asyncio.gather(*(follow() for _ in range(_FOLLOWERS)))

    pipe.send((asyncio.run(all_of_them()), delays))
