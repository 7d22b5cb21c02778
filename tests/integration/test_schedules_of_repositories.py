"""Schedules in repositories that can't be reached when they are due."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.consistency import stored
from tests.support.git_daemon import GitDaemon
from tests.support.repos import Repo
from tests.support.server import Server, wait_for

_FILES = 6
_EACH = 20
_HOUR = 3600 * 1000


def _definition(name: str) -> str:
    schedules = ", ".join(f"{{name: n{number}, cron: '0 3 * * *'}}" for number in range(_EACH))
    return f"name: {name}\non: {{schedule: [{schedules}]}}\nsteps: ['true']\n"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[GitDaemon]:
    folder = tmp_path / "git"
    Repo(folder / "away").commit({f".rapidflow/p{n}.yml": _definition(f"p{n}") for n in range(_FILES)})
    daemon = GitDaemon(folder).start()
    yield daemon
    daemon.stop()


@pytest.mark.parametrize("is_silent", [False, True])
def test_a_repository_that_does_not_answer_holds_up_no_other_schedule(
    new_server: Callable[..., Server], daemon: GitDaemon, is_silent: bool
) -> None:
    server = new_server(executor="process").start()
    answer = server.post("/repositories", {"url": f"git://{daemon.address}/away"})
    assert answer.status == 201, answer.text
    other = server.pipeline("name: other\non: {schedule: [{cron: '0 3 1 1 *'}]}\nsteps: ['true']\n")
    count = "SELECT COUNT(*) FROM schedule"
    wait_for(lambda: stored(server, count) == [(_FILES * _EACH + 1,)], "all schedules are planned")
    server.kill()
    daemon.stop()
    # The repository's are due before the other one.
    now = int(time.time() * 1000)
    server.sql("UPDATE schedule SET due_at = ?", now - 2 * _HOUR)
    server.sql("UPDATE schedule SET due_at = ? WHERE pipeline_id = ?", now - _HOUR, other)
    host, _, port = daemon.address.partition(":")
    with socket.socket() as silent:
        if is_silent:
            silent.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            silent.bind((host, int(port)))
            silent.listen()
        server.start()
        wait_for(lambda: len(server.get(f"/pipelines/{other}/jobs").json) == 1, "the other one is built")
    due = stored(server, "SELECT COUNT(*) FROM schedule WHERE due_at < ?", now)
    assert due == [(_FILES * _EACH,)], "what could not be built is not due any more"
