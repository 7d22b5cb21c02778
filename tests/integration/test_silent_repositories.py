"""Repositories whose server takes connections and says nothing: git waits for it for minutes."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.git_daemon import GitDaemon
from tests.support.repos import Repo
from tests.support.repositories import add, definition, events, push, put
from tests.support.server import Server

_MANY = 5


@pytest.fixture
def server(new_server: Callable[..., Server]) -> Server:
    # One of its own, for its gits go on waiting.
    return new_server(executor="process").start()


@pytest.fixture
def silent(tmp_path: Path, server: Server) -> Iterator[list[int]]:
    """The ids of the pipelines of repositories that say nothing any more."""
    for number in range(_MANY):
        Repo(tmp_path / "git" / f"r{number}").commit({".rapidflow.yml": definition(f"silent {number}")})
    daemon = GitDaemon(tmp_path / "git").start()
    pipelines: list[int] = []
    for number in range(_MANY):
        answer = server.post("/repositories", {"url": f"git://{daemon.address}/r{number}"})
        assert answer.status == 201, answer.text
        put(server, answer.json["id"], poll="off")
        pipelines.append(answer.json["pipelines"][0]["id"])
    daemon.stop()
    host, _, port = daemon.address.partition(":")
    with socket.socket() as silent:
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        silent.bind((host, int(port)))
        silent.listen(50)
        yield pipelines


@pytest.mark.parametrize("how_many", [1, _MANY])
def test_repositories_that_say_nothing_hold_up_no_other(
    server: Server, repo: Repo, silent: list[int], how_many: int
) -> None:
    jobs = [server.start_build(silent[number % how_many]) for number in range(2 * _MANY)]
    repo.commit({".rapidflow.yml": definition("answers")})
    repository_id = add(server, repo)["id"]
    repo.commit({"a": "b"})
    push(server, repository_id, repo)
    (decision,) = events(server, repository_id)[0]["decisions"]
    assert server.wait_finished(decision["job_id"])["job"]["status"] == "success"
    waiting = [server.job(job_id)["status"] for job_id in jobs]
    assert waiting == ["pending"] * len(jobs), "the others waited for what was over"
