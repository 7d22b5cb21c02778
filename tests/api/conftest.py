"""Builds that many tests look at, and servers in the states that they need."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import gates, images
from tests.support.repos import Repo
from tests.support.server import Server
from tests.support.world import World

CONFIG = """\
# What is written here comes back as it is: comments, order, spaces.
name:   Go Build Pipeline
repo_name: {url}
branch: main
folder: ./my-go-app
language: golang
version: "1.21"
image: {image}
env: {{CGO_ENABLED: "0", GREETING: 'good day'}}
steps:
  - type: bash
    name: download
    content: |
      echo "go: downloading github.com/gofiber/fiber/v2 v2.50.0"
      echo "go: downloading github.com/jmoiron/sqlx v1.3.5" >&2
  - content: "true"
    type: sh
  - printf 'no newline at the end'
  - cat hello.txt
"""

STREAM = """\
=== Step 1 (bash) ===
go: downloading github.com/gofiber/fiber/v2 v2.50.0
go: downloading github.com/jmoiron/sqlx v1.3.5

=== Step 2 (sh) ===

=== Step 3 (bash) ===
no newline at the end

=== Step 4 (bash) ===
Build completed successfully

=== Build completed ===
"""


@pytest.fixture(scope="session")
def server(process_server: Server) -> Server:
    """The server that the tests of this folder share. None of them is about containers."""
    return process_server


@pytest.fixture(scope="session")
def go_config(repos: Path) -> str:
    """The YAML text of the build `succeeded`."""
    source = Repo(repos / "go-project")
    source.commit({"my-go-app/hello.txt": "Build completed successfully\n"})
    return CONFIG.format(url=source.url, image=images.ensure(images.BASH))


@pytest.fixture(scope="session")
def succeeded(server: Server, go_config: str) -> dict[str, Any]:
    """Details of a build of four steps that succeeded."""
    details = server.run(go_config, environments={"GREETING": "hello", "EXTRA": "1"})
    assert details["job"]["status"] == "success", details
    return details


@pytest.fixture(scope="session")
def succeeded_stream() -> str:
    """The stream of the build `succeeded`."""
    return STREAM


@pytest.fixture(scope="session")
def failed(server: Server) -> dict[str, Any]:
    """Details of a build that failed in the second of three steps."""
    return server.run({"name": "fails", "steps": ["echo fine", "echo oh no; exit 3", "echo never"]})


@pytest.fixture(scope="session")
def cancelled(server: Server) -> dict[str, Any]:
    """Details of a build that was cancelled in the first of two steps, which cleaned up."""
    # The shell would say on standard error that its sleep was terminated.
    script = "exec 2>&-\ntrap 'echo cleaning up; exit 0' TERM\necho working\nwhile :; do sleep 0.05; done\n"
    job_id = server.start_job({"name": "cancelled", "steps": [script, "echo never"]})
    server.wait_output(job_id, "working")
    assert server.post(f"/jobs/{job_id}/cancel").status == 200
    return server.details(job_id)


class Queue:
    """A server with one slot, which a build holds until it is let go."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.released = False
        self.holder = server.start_job({"name": "holder", "steps": [f"echo holding; {gates.waiting()}"]})
        server.wait_output(self.holder, "holding")

    def release(self) -> None:
        """Lets the build end that holds the slot. Safe to call again."""
        if not self.released:
            self.released = True
            gates.let_go(self.server, self.holder)
            self.server.wait_finished(self.holder)


@pytest.fixture
def queue(plain_server: Server) -> Iterator[Queue]:
    """The one slot of `plain_server`, taken."""
    taken = Queue(plain_server)
    yield taken
    taken.release()


@pytest.fixture(scope="session")
def plain_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with one slot, whose builds are plain processes."""
    server = Server(
        tmp_path_factory.mktemp("plain") / "data", executor="process", concurrency="1", grace="2s"
    ).start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def new_name() -> Callable[[], str]:
    """Names that nothing else has."""
    count = iter(range(1_000_000))
    return lambda: f"name of its own {next(count)}"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A server with users of all roles, of the module's own."""
    server = Server(tmp_path_factory.mktemp("world") / "data", executor="process", grace="1s").start()
    yield World(server)
    server.stop()


@pytest.fixture(scope="session")
def document(server: Server) -> dict[str, Any]:
    """The OpenAPI document."""
    answer = server.get("/openapi.json")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    return answer.json
