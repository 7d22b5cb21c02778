"""What the tests of source code share, and those of the agent."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from rapidflow_web.pipeline.definition import StepDefinition
from rapidflow_web.source.mirrors import Mirrors
from tests.support import agents
from tests.support.agents import SHELLS, Agent, Start
from tests.support.repos import Repo


@pytest.fixture
def origin(tmp_path: Path) -> Repo:
    """The repository that is fetched."""
    return Repo(tmp_path / "repos" / "origin")


@pytest.fixture
def mirrors(tmp_path: Path) -> Mirrors:
    """Mirrors without anything in them, of repositories such as the origin."""
    (tmp_path / "mirrors").mkdir()
    return Mirrors(tmp_path / "mirrors", [str(tmp_path / "repos")], timeout=30)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Where the work tree goes; not there yet."""
    return tmp_path / "work" / "workspace"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A service of this machine that is no git server."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.setblocking(False)
        yield server


@pytest.fixture(params=SHELLS)
def start(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Start]:
    """Starts an agent with the given steps; without any it has no scripts at all."""
    started: list[Agent] = []

    def begin(*steps: str | StepDefinition) -> Agent:
        root = tmp_path / "root"
        root.mkdir(exist_ok=True)
        if steps:
            agents.write(root, steps)
        started.append(Agent(root, SHELLS[request.param]))
        started[-1].begin()
        return started[-1]

    yield begin
    for one in started:
        one.kill()
