"""How far one server goes: builds at once and followers, on machines that are simulated.

    python -m bench.scaling [BUILDS FOLLOWERS]...

Prints what a build costs from its start to its end, and a row for each pair: the CPU that the server takes,
its memory, the delay of lines at followers, and how long it took to begin all builds. Each build prints a
line a second.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import resource
import selectors
import socket
import sqlite3
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import cast

from bench.table import median, percentile
from tests.support.server import Server, wait_for

_PAIRS = ((1, 0), (100, 0), (1000, 0), (1000, 1000), (1000, 5000))
_NODES = 100
_SLOTS = 10
_STEADY_SECONDS = 20
_SHORT_BUILDS = 500
_STAMP = re.compile(rb"(\d{10}\.\d{6}) line ")
_UNREAD = 40
"""Followers that are added before what the others got is read."""


def main() -> None:
    """Prints the table."""
    numbers = [int(word) for word in sys.argv[1:]]
    pairs: Sequence[tuple[int, int]] = [*zip(numbers[::2], numbers[1::2], strict=True)] or _PAIRS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 65536)), hard))
    print(_of_short_builds(), "\n")
    print("| builds | followers | begun in | CPU | memory | p50 | p95 | complete |")
    print("|---|---|---|---|---|---|---|---|")
    for builds, followers in pairs:
        print(_row(builds, followers), flush=True)


def _of_short_builds() -> str:
    """The cost of builds that print one line."""
    with _server(1, 0) as server:
        pipeline = server.pipeline({"name": "scaling", "steps": ["simulated"]})
        for _ in range(20):  # what it only does once
            server.wait_finished(server.start_build(pipeline))
        size, before, begin = _database(server), _cpu(server), time.perf_counter()
        for _ in range(_SHORT_BUILDS):
            server.start_build(pipeline)
        wait_for(lambda: not server.get("/jobs?status=running").json, "all builds have ended", 120)
        wait_for(lambda: not server.get("/jobs?status=pending").json, "all builds have ended", 120)
        cpu, seconds = _cpu(server) - before, time.perf_counter() - begin
        stored = _database(server) - size
    each = f"{1000 * cpu / _SHORT_BUILDS:.0f} ms of the server's CPU, {stored / _SHORT_BUILDS / 1000:.1f} kB"
    return f"A build takes {each} in the database; {_SHORT_BUILDS / seconds:.0f} builds a second."


def _row(builds: int, followers: int) -> str:
    lines = 60 + builds // 10 + followers // 20
    with _server(lines, 1) as server:
        pipeline = server.pipeline({"name": "scaling", "steps": ["simulated"]})
        begin = time.perf_counter()
        ids = [server.start_build(pipeline) for _ in range(builds)]
        wait_for(lambda: _running(server) == builds, "all builds run", 120)
        begun = time.perf_counter() - begin
        here, there = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(
            target=_follow, args=(server.port, ids, followers, there)
        )
        process.start()
        here.recv()  # all follow
        before = _cpu(server)
        time.sleep(_STEADY_SECONDS)
        cpu = (_cpu(server) - before) / _STEADY_SECONDS
        memory = _memory(server)
        here.send("enough")
        delays, incomplete = here.recv()
        process.join()
    delay = (
        f"{median(delays):.0f} ms | {percentile(delays, 95):.0f} ms | {'NO' if incomplete else 'yes'}"
        if delays
        else " | |"
    )
    return (
        f"| {builds} | {followers} | {begun:.1f} s | {100 * cpu:.0f} % of a core | {memory:.0f} MB "
        f"| {delay} |"
    )


@contextmanager
def _server(lines: int, seconds: int) -> Generator[Server]:
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder) / "data", connections="10000")
        arguments = (str(_NODES), str(_SLOTS), str(lines), str(seconds))
        server.program = (sys.executable, "-m", "bench.simulated_cluster", *arguments)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _running(server: Server) -> int:
    found = re.search(r"^rapidflow_running_builds (\d+)", server.get("/metrics").text, re.MULTILINE)
    return int(found[1]) if found else -1


def _cpu(server: Server) -> float:
    assert server.process is not None
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _database(server: Server) -> int:
    """Bytes of its pages, also of those that are not in the file itself yet."""
    with closing(sqlite3.connect(f"file:{server.data}/rapidflow.db?mode=ro", uri=True)) as database:
        return database.execute(
            "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
        ).fetchone()[0]


def _memory(server: Server) -> float:
    assert server.process is not None
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]


def _follow(port: int, ids: list[int], followers: int, pipe: Connection) -> None:
    """Says when all follow; once it is told that it is enough, sends delays in ms and how many lost bytes."""
    delays: list[float] = []
    counts: dict[socket.socket, int] = {}
    incomplete = 0
    with selectors.DefaultSelector() as selector:

        def receive(timeout: float) -> None:
            nonlocal incomplete
            for key, _ in selector.select(timeout):
                client = cast(socket.socket, key.fileobj)
                data = client.recv(1 << 16)
                now = time.time()
                stamps = _STAMP.findall(data)
                # The first piece is what was printed before.
                if counts[client] and stamps:
                    delays.append((now - float(stamps[-1])) * 1000)
                counts[client] += len(stamps)
                if not data:
                    incomplete += 1
                    selector.unregister(client)

        for number in range(followers):
            client = socket.create_connection(("127.0.0.1", port), timeout=30)
            job = ids[number % len(ids)]
            client.sendall(
                f"GET /jobs/{job}/logs/stream?follow=true HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
            )
            counts[client] = 0
            selector.register(client, selectors.EVENT_READ)
            if number % _UNREAD == 0:
                receive(0)
        while followers and not all(counts.values()):
            receive(1)
        delays.clear()
        pipe.send("all follow")
        while not pipe.poll():
            if followers:
                receive(0.2)
            else:
                pipe.poll(1)
    pipe.send((delays, incomplete))


if __name__ == "__main__":
    main()
