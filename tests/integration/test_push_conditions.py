"""Steps with `when` in a definition of a repository: pushed, tagged, started by hand, and retried."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.repos import Repo
from tests.support.repositories import add, push
from tests.support.server import Server

_DEFINITION = """\
name: ci
on: [push, tag]
steps:
  - {content: echo tag, when: {event: tag, tags: "v*"}}
  - {content: echo main, when: {branches: main}}
  - {content: echo docs, when: {paths: "docs/**"}}
  - echo all
"""


@pytest.fixture
def server(new_server: Callable[..., Server], repo: Repo) -> Server:
    return new_server(executor="process", file_roots=str(repo.path.parent)).start()


def ran(server: Server, job_id: int) -> list[str]:
    """What the steps printed that a build ran."""
    steps = server.wait_finished(job_id)["steps"]
    assert [step["status"] == "success" for step in steps] == [step["skipped"] is None for step in steps]
    return [step["output"].strip() for step in steps if step["skipped"] is None]


def test_what_was_pushed_decides_which_steps_run(server: Server, repo: Repo) -> None:
    repo.commit({".rapidflow.yml": _DEFINITION})
    added = add(server, repo)
    pipeline_id = added["pipelines"][0]["id"]

    repo.commit({"src/a": "1"})
    (decision,) = push(server, added["id"], repo)["decisions"]
    assert ran(server, decision["job_id"]) == ["main", "all"]
    retried = server.post(f"/jobs/{decision['job_id']}/retry").json["id"]
    assert ran(server, retried) == ["main", "all"]

    repo.commit({"docs/a": "1"})
    (decision,) = push(server, added["id"], repo)["decisions"]
    assert ran(server, decision["job_id"]) == ["main", "docs", "all"]

    repo.git("tag", "v1")
    (decision,) = push(server, added["id"], repo, "refs/tags/v1")["decisions"]
    assert ran(server, decision["job_id"]) == ["tag", "docs", "all"]
    retried = server.post(f"/jobs/{decision['job_id']}/retry").json["id"]
    assert ran(server, retried) == ["tag", "docs", "all"]

    by_hand = server.start_build(pipeline_id, branch="main")
    assert ran(server, by_hand) == ["main", "docs", "all"]
    by_tag = server.start_build(pipeline_id, tag="v1")
    assert ran(server, by_tag) == ["docs", "all"]
