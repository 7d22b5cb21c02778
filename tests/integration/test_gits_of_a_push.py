"""How often a push makes the server call git, which everybody who pushes waits for."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.support.repos import Repo
from tests.support.repositories import add, definition, push
from tests.support.server import Server

_MOST = 14
"""Gits between a delivery and the first step. Each takes some milliseconds, many more on a busy machine."""


def test_a_push_calls_git_a_few_times_and_packs_nothing(
    new_server: Callable[..., Server], repo: Repo, tmp_path: Path
) -> None:
    called, program = tmp_path / "called", tmp_path / "bin" / "git"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >>{called}\nexec {shutil.which("git")} "$@"\n')
    program.chmod(0o755)
    server = new_server(executor="process")
    server.set_path(f"{program.parent}:{os.environ['PATH']}")
    server.start()
    repo.commit({".rapidflow/0.yml": definition("first")})
    added = add(server, repo)

    def gits() -> list[str]:
        called.write_text("")
        (built, *others) = push(server, added["id"], repo)["decisions"]
        assert server.wait_finished(built["job_id"])["job"]["status"] == "success", others
        return sorted(line.split()[0] for line in called.read_text().splitlines())

    repo.commit({"a": "b"})
    few = gits()
    assert len(few) <= _MOST and "gc" not in few and "ls-remote" not in few, few
    # However many definitions there are; these build nothing.
    files = {f".rapidflow/{number}.yml": definition(f"of {number}", on="tag") for number in range(1, 40)}
    repo.commit({**files})
    assert gits() == few
