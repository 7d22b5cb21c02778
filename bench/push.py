"""How soon a push is heard."""

from __future__ import annotations

import http.client
import tempfile
import time
from pathlib import Path

from bench.table import Row, median
from tests.support.repos import Repo
from tests.support.repositories import ZERO, add, definition
from tests.support.server import Server

_PUSHES = 10
_PAUSE = 3.0
"""Seconds, in which what a push before has left to do is done."""
_MOST = 1000
_MARK = b"first-output-of-a-push"


def first_output(image: str) -> Row:
    """From what `post-receive` tells to the first output at a follower, git included."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        repo = Repo(folder / "repo")
        repo.commit({".rapidflow.yml": definition(steps=f"echo {_MARK.decode()}")})
        server = Server(folder / "data", default_image=image, concurrency="4", file_roots=name).start()
        try:
            repository_id = add(server, repo)["id"]
            passed = [_push(server, repo, repository_id) for _ in range(_PUSHES + 1)]
        finally:
            server.stop()
    measured = passed[1:]  # the first warms up
    return Row(
        "push to first output",
        f"under {_MOST} ms",
        f"{median(measured):.0f} ms, longest {max(measured):.0f} ms (of {_PUSHES})",
        "",
        median(measured) < _MOST,
    )


def _push(server: Server, repo: Repo, repository_id: int) -> float:
    commit = repo.commit({"a": str(time.time())})
    time.sleep(_PAUSE)
    begin = time.perf_counter()
    line = f"{ZERO} {commit} refs/heads/main"
    path = f"/repositories/{repository_id}/refs"
    answer = server.request("POST", path, line, {"Content-Type": "text/plain"})
    assert answer.status == 202, answer.text
    while not (jobs := [job for job in server.get("/jobs?limit=1").json if job["commit"] == commit]):
        time.sleep(0.01)
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    connection.request("GET", f"/jobs/{jobs[0]['id']}/logs/stream?follow=true")
    response = connection.getresponse()
    received = b""
    while _MARK not in received:
        if not (chunk := response.read1(65536)):
            raise AssertionError(f"the build said nothing: {server.details(jobs[0]['id'])}")
        received += chunk
    passed = time.perf_counter() - begin
    response.read()
    connection.close()
    server.wait_finished(jobs[0]["id"])
    return passed * 1000
