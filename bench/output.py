"""How fast, how soon and for how many output arrives."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import re
import secrets
import selectors
import socket
import subprocess
import time
from multiprocessing.connection import Connection
from typing import cast

from bench import attached
from bench.table import Row, median, percentile
from tests.support.server import Server

_LINES = 2_000_000
_FLOOD = 200_000_000
_EXPECTED = sum(len(str(number)) + 1 for number in range(1, _LINES + 1))
_RUNS = 5
_SECRETS = 5
_STAMP = re.compile(rb"\n(\d{10}\.\d{6}) line ")
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


def lines_until_end(server: Server, image: str) -> Row:
    """The same lines until their stream ends with the build, against what the engine alone gives."""
    return _until_end(server, image, "2,000,000 short lines until the build's end", f"seq {_LINES}")


def flood_until_end(server: Server, image: str) -> Row:
    """200 MB of the shortest lines there are, in the same way."""
    return _until_end(server, image, "`yes`, 200 MB, until the build's end", f"(yes || :) | head -c {_FLOOD}")


def _until_end(server: Server, image: str, what: str, command: str) -> Row:
    pipeline = server.pipeline({"name": "bench until the end", "image": image, "steps": [command]})
    ours, agent, bare = list[float](), list[float](), list[float]()
    exact = True
    for number in range(_RUNS + 1):
        rate = _build(server, pipeline, (expected := attached.bare(image, command))[0])
        exact &= rate > 0
        if number:  # the first round warms up
            ours.append(rate)
            bare.append(expected[0] / expected[1] / 1e6)
            size, seconds = attached.agent(image, command)
            agent.append(size / seconds / 1e6)
    to_agent, to_bare = median(ours) / median(agent), median(ours) / median(bare)
    return Row(
        what,
        "0.85 of attach to the same agent, 0.5 of bare attach, byte-exact",
        f"{median(ours):.0f} MB/s, {to_agent:.2f} and {to_bare:.2f}, {'exact' if exact else 'NOT EXACT'}",
        f"agent {median(agent):.0f} MB/s, bare {median(bare):.0f} MB/s",
        exact and to_agent >= 0.85 and to_bare >= 0.5,
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


def _build(server: Server, pipeline: int, expected: int = _EXPECTED) -> float:
    """MB/s at which `expected` bytes of a build arrive, until its stream ends; 0 where not all do."""
    job = server.start_build(pipeline)
    size, seconds = _read(["curl", "-sN", f"{server.url}/jobs/{job}/logs/stream?follow=true"])
    time.sleep(1)  # until its container is gone, too
    exact = size == expected + len("=== Step 1 (bash) ===\n\n=== Build completed ===\n")
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


def many_followers(server: Server, image: str, followers: int = 100, most: float = 12) -> Row:
    """Many followers of one build; the delay of the oldest line in each piece that arrives."""
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
        "steps": [{"content": "sleep 2; python3 lines.py", "files": {"lines.py": script}}],
    }
    job = server.start_job(config)
    here, there = multiprocessing.Pipe()
    arguments = (server.port, job, followers, there)
    process = multiprocessing.get_context("spawn").Process(target=_follow_all, args=arguments)
    process.start()
    bodies, delays = here.recv()
    process.join()
    log = hashlib.sha256(server.get(f"/jobs/{job}/logs/stream").body).digest()
    complete = len(bodies) == followers and set(bodies) == {log}
    p95 = percentile(delays, 95)
    return Row(
        f"{followers} followers, {_RATE} lines/s",
        f"all bytes to all, p95 at most {most:.0f} ms",
        f"{'all' if complete else 'NOT ALL'} bytes, p50 {median(delays):.0f} ms, p95 {p95:.0f} ms",
        "",
        complete and p95 <= most,
    )


def _follow_all(port: int, job: int, followers: int, pipe: Connection) -> None:
    """Sends the hash of each follower's bytes, and the delays in ms."""
    delays: list[float] = []
    received: dict[socket.socket, list[bytes]] = {}
    request = (
        f"GET /jobs/{job}/logs/stream?follow=true HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    )
    with selectors.DefaultSelector() as selector:
        for _ in range(followers):
            client = socket.create_connection(("127.0.0.1", port))
            client.sendall(request.encode())
            selector.register(client, selectors.EVENT_READ)
            received[client] = []
        while selector.get_map():
            for key, _ in selector.select():
                client = cast(socket.socket, key.fileobj)
                data = client.recv(1 << 18)
                received[client].append(data)
                if line := _STAMP.search(data):
                    delays.append((time.time() - float(line[1])) * 1000)
                if not data:
                    selector.unregister(client)
                    client.close()
    bodies = [
        hashlib.sha256(_unchunked(b"".join(parts).partition(b"\r\n\r\n")[2])).digest()
        for parts in received.values()
    ]
    pipe.send((bodies, delays))


def _unchunked(data: bytes) -> bytes:
    body = bytearray()
    position = 0
    while (end := data.find(b"\r\n", position)) >= 0 and (size := int(data[position:end], 16)):
        body += data[end + 2 : end + 2 + size]
        position = end + 2 + size + 2
    return bytes(body)
