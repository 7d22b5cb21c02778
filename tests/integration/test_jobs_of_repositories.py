"""Builds of several jobs whose definition stands in the repository."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.repos import Repo
from tests.support.repositories import add, push, put
from tests.support.server import Server, wait_for
from tests.support.uploads import pack, start, upload
from tests.support.users import add_user, as_, token_of

JSON = {"Content-Type": "application/json"}
_DEFINITION = """\
name: several
on: {push: {branches: main}}
jobs:
  test:
    matrix: {n: [1, 2]}
    steps:
      - cat a.txt
      - {content: echo docs, when: {paths: 'docs/**'}}
  main: {needs: test, if: branch == 'main' && event == 'push', steps: ['echo "$RAPIDFLOW_BRANCH"']}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, repos: Path) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("jobs-of-repositories")
    made = Server(folder / "data", executor="process", file_roots=str(repos), grace="1s").start()
    yield made
    made.stop()


def states(details: dict[str, Any]) -> list[str]:
    return [step["part"]["state"] for step in details["steps"]]


def output(server: Server, details: dict[str, Any], name: str) -> list[str]:
    """The outputs of the steps of a part."""
    (step,) = (step for step in details["steps"] if step["content"] == name)
    return [one["output"] for one in server.details(step["part"]["job_id"])["steps"]]


def test_pushes_starts_and_retries(server: Server, repo: Repo) -> None:
    repo.commit({".rapidflow.yml": _DEFINITION})
    repository = add(server, repo)
    commit = repo.commit({"a.txt": "one\n", "docs/a.md": "a"})
    job_id = push(server, repository["id"], repo)["decisions"][0]["job_id"]
    pushed = server.wait_finished(job_id)
    assert states(pushed) == ["success"] * 3
    assert pushed["job"]["commit"] == commit
    assert output(server, pushed, "main") == ["main\n"]
    assert output(server, pushed, "test (n=1)") == ["one\n", "docs\n"]
    # What `when` says of changed files is judged for each push.
    repo.commit({"a.txt": "two\n"})
    changed = server.wait_finished(push(server, repository["id"], repo)["decisions"][0]["job_id"])
    assert output(server, changed, "test (n=1)") == ["two\n", ""]

    started = server.start_build(pushed["job"]["pipeline_id"])
    by_hand = server.wait_finished(started)
    assert states(by_hand) == ["success", "success", "skipped"]
    retried = server.wait_finished(server.post(f"/jobs/{job_id}/retry").json["id"])
    assert states(retried) == ["success"] * 3
    assert output(server, retried, "test (n=2)")[0] == "one\n"


def test_a_definition_that_is_not_right_starts_nothing(server: Server, repo: Repo) -> None:
    repo.commit({".rapidflow.yml": _DEFINITION, "a.txt": "one\n"})
    repository = add(server, repo)
    repo.commit({".rapidflow.yml": _DEFINITION.replace("needs: test", "needs: tset")})
    (decision,) = push(server, repository["id"], repo)["decisions"]
    assert decision["outcome"] == "failed"
    assert "there is no job 'tset', did you mean 'test'?" in decision["reason"]


def test_parts_of_a_fork_get_no_secrets(server: Server, repo: Repo) -> None:
    server.request("PUT", "/secrets/FORKED", b'{"value": "hunter2-forked"}', JSON)
    text = (
        "name: secret\non: push\njobs:\n  a: {secrets: [FORKED], priority: 9, "
        "steps: ['echo \"secret: $FORKED\"']}\n"
    )
    repo.commit({".rapidflow.yml": text})
    repository = add(server, repo)
    put(server, repository["id"], forks="run", secrets=["FORKED"])
    pipeline_id = server.get("/pipelines").json[0]["id"]
    trusted = server.wait_finished(server.start_build(pipeline_id))
    assert output(server, trusted, "a") == ["secret: ***\n"]
    main = repo.git("rev-parse", "HEAD")
    fork = repo.commit({"b.txt": "b\n"})
    repo.git("update-ref", "refs/heads/main", main)
    repo.git("update-ref", "refs/pull/1/head", fork)
    foreign = server.wait_finished(server.start_build(pipeline_id, commit=fork))
    assert foreign["job"]["commit"] == fork
    assert output(server, foreign, "a") == ["secret: \n"]


def test_a_working_tree(server: Server, repo: Repo, tmp_path: Path) -> None:
    repo.commit({".rapidflow.yml": _DEFINITION, "a.txt": "one\n"})
    add(server, repo)
    pipeline_id = server.get("/pipelines").json[0]["id"]
    commit, tree = pack(tmp_path / "tree", {".rapidflow.yml": _DEFINITION, "a.txt": "mine\n"})
    kept = upload(server, pipeline_id, commit, tree).json["id"]
    details = server.wait_finished(start(server, pipeline_id, kept).json["id"])
    assert states(details) == ["success", "success", "skipped"]
    assert output(server, details, "test (n=1)")[0] == "mine\n"


def test_parts_of_a_restricted_pipeline_are_seen_by_those_who_may(tmp_path: Path, repos: Path) -> None:
    server = Server(tmp_path / "data", executor="process", file_roots=str(repos))
    for name, role in (("ann", "admin"), ("bob", "builder"), ("vic", "viewer")):
        add_user(server, name, role)
    ann, bob, vic = (as_(token_of(server, name)) for name in ("ann", "bob", "vic"))
    server.start()
    try:
        text = (
            "name: hidden\njobs:\n  a: {steps: [echo seen]}\n"
            "  b: {needs: a, approval: true, steps: ['true']}\n"
        )
        config = json.dumps(
            {"name": "hidden", "config": text, "visibility": {"restricted": True, "users": ["vic"]}}
        )
        made = server.request("POST", "/pipelines", config, JSON | ann)
        assert made.status == 201, made.text
        started = server.request("POST", f"/pipelines/{made.json['id']}/jobs", "{}", JSON | ann).json["id"]
        parts = f"/jobs?lead_id={started}"
        wait_for(
            lambda: (
                server.request("GET", f"/jobs/{started}/details", headers=ann).json["steps"][1]["part"][
                    "state"
                ]
                == "waits_for_approval"
            ),
            "b waits for an approval",
        )
        (part,) = server.request("GET", parts, headers=vic).json
        assert server.request("GET", f"/jobs/{part['id']}/logs/stream", headers=vic).status == 200
        assert server.request("GET", parts, headers=bob).json == []
        for path in (f"/jobs/{started}", f"/jobs/{part['id']}", f"/jobs/{part['id']}/logs/stream"):
            assert server.request("GET", path, headers=bob).status == 404
        approve = (f"/jobs/{started}/approve", json.dumps({"part": "b"}))
        assert server.request("POST", *approve, JSON | bob).status == 404
        assert server.request("POST", *approve, JSON | vic).status == 403
        # It survives a kill of the server.
        server.kill()
        server.start()
        assert server.request("POST", *approve, JSON | ann).status == 200
        wait_for(
            lambda: server.request("GET", f"/jobs/{started}", headers=ann).json["status"] == "success",
            "it ends",
        )
    finally:
        server.stop()
