"""Many followers, half of which do not read: they cost no memory and delay nobody.

In `make test` some; `make torture` sets TORTURE_FOLLOWERS to 1,000.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import resource
import socket
from collections.abc import Callable
from pathlib import Path

from tests.support.builds import engine
from tests.support.server import Server, wait_for

FOLLOWERS = int(os.environ.get("TORTURE_FOLLOWERS", "120"))
_LINES = 300_000
_MOST_GROWTH = 150 * 1024 * 1024
"""Bytes, for a thousand connections; what the stalled ones have not read would be gigabytes."""


def _memory(server: Server) -> int:
    """Bytes that the server has in memory."""
    assert server.process is not None
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


def _descriptors(server: Server) -> int:
    assert server.process is not None
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))


def _connect(server: Server, job_id: int, *, stalled: bool) -> socket.socket:
    connection = socket.socket()
    if stalled:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", server.port))
    path = f"/jobs/{job_id}/logs/stream?follow=true"
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    connection.setblocking(False)
    return connection


async def _read_all(connection: socket.socket) -> str:
    """The SHA-256 of a chunked body, once it has properly ended."""
    reader, writer = await asyncio.open_connection(sock=connection)
    digest = hashlib.sha256()
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    while (await reader.readline()).strip():
        pass
    while size := int(await reader.readline(), 16):
        left = size
        while left:
            piece = await reader.read(min(left, 65536))
            assert piece
            digest.update(piece)
            left -= len(piece)
        assert await reader.readexactly(2) == b"\r\n"
    writer.close()
    return digest.hexdigest()


async def test_followers_that_do_not_read_delay_nobody(new_server: Callable[..., Server]) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    server = new_server().start()
    step = f"until [ -e /go ]; do sleep 0.02; done; seq {_LINES}"
    job_id = server.start_job({"name": "followed", "steps": [step]})
    server.wait_output(job_id, "=== Step 1")
    before_all = _descriptors(server)
    connections = [_connect(server, job_id, stalled=number % 2 == 1) for number in range(FOLLOWERS)]
    wait_for(lambda: f"rapidflow_followers {FOLLOWERS}.0" in server.get("/metrics").text, "all follow")
    reading, stalled = connections[::2], connections[1::2]
    vanishing = stalled[::3]
    before = _memory(server)
    readers = [asyncio.create_task(_read_all(connection)) for connection in reading]
    container_id = server.job(job_id)["container_id"]
    await asyncio.to_thread(engine, "exec", container_id, "touch", "/go")

    # The others read to the end while these do not read at all, and some of these go away.
    await asyncio.sleep(0.5)
    for connection in vanishing:
        connection.close()
    digests = set(await asyncio.gather(*readers))
    assert (await asyncio.to_thread(server.wait_finished, job_id))["job"]["status"] == "success"
    growth = _memory(server) - before
    print(f"{FOLLOWERS} followers, half of them stalled: {growth / 1024**2:.0f} MiB")
    assert growth < _MOST_GROWTH * max(0.3, FOLLOWERS / 1000)
    stream = (await asyncio.to_thread(server.get, f"/jobs/{job_id}/logs/stream")).body
    assert digests == {hashlib.sha256(stream).hexdigest()}
    numbers = "".join(f"{number}\n" for number in range(1, _LINES + 1))
    assert stream.decode() == f"=== Step 1 (bash) ===\n{numbers}\n=== Build completed ===\n"

    # Who was stalled all the while gets the same when it reads on.
    some = [connection for connection in stalled if connection not in vanishing][:10]
    assert {await _read_all(connection) for connection in some} == digests
    for connection in connections:
        connection.close()
    wait_for(lambda: "rapidflow_followers 0.0" in server.get("/metrics").text, "nobody follows")
    wait_for(lambda: _descriptors(server) <= before_all, "all connections are closed")
