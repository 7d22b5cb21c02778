"""The server's logins for registries are for trusted builds alone."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.deliveries import Hook
from tests.support.registry import Registry
from tests.support.repos import Repo
from tests.support.repositories import add, definition, events, handled, push, put
from tests.support.server import Server


def test_a_fork_gets_no_image_that_only_the_server_may_pull(
    new_server: Callable[..., Server], repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(size=1000, login="ann:s3cret")
    auth = base64.b64encode(b"ann:s3cret").decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {registry.host: {"auth": auth}}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    try:
        server = new_server().start()
        more = f"image: {registry.image}\n"
        repo.commit({".rapidflow.yml": definition(on="[push, pull_request]", more=more)})
        added = add(server, repo)
        put(server, added["id"], forks="run")
        commit = repo.commit({"a": "b"})
        repo.git("update-ref", "refs/pull/1/head", commit)
        repo.git("reset", "-q", "--hard", "HEAD^")
        handled(server, Hook(server, added).pull_request(commit).json["delivery"])
        (decision,) = events(server, added["id"])[0]["decisions"]
        forked = server.wait_finished(decision["job_id"])["job"]
        assert forked["status"] == "failed" and f"could not pull image {registry.image}" in forked["error"]
        assert registry.pulls() == 0
        repo.commit({"c": "d"})
        (decision,) = push(server, added["id"], repo)["decisions"]
        assert server.wait_finished(decision["job_id"])["job"]["status"] == "success"
        assert registry.pulls() == 1
    finally:
        registry.close()
