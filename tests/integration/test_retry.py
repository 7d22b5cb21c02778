"""Starting a build again with all that it ran with."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support import images
from tests.support.consistency import assert_ended_once
from tests.support.repos import Repo
from tests.support.server import Server


def retry(server: Server, job_id: int) -> dict[str, object]:
    """The job that a retry started, at its end."""
    answer = server.post(f"/jobs/{job_id}/retry")
    assert answer.status == 201, answer.text
    assert answer.json["retry_of"] == job_id
    return server.wait_finished(answer.json["id"])


def test_a_retry_runs_what_the_job_ran_though_everything_has_changed_since(
    server: Server, repo: Repo
) -> None:
    commit = repo.commit({"a": "first"})
    image = images.ensure(images.BUSYBOX)
    config = f"""\
name: original
repo_name: {repo.url}
image: {image}
env: {{GREETING: hello}}
steps:
  - cat a; echo " $GREETING $MORE"
"""
    pipeline_id = server.pipeline(config)
    first = server.wait_finished(server.start_build(pipeline_id, environments={"MORE": "given"}))
    assert first["steps"][0]["output"] == "first hello given\n"

    # The branch moves on, and the pipeline becomes another one, then none.
    repo.commit({"a": "second"})
    changed = server.request(
        "PUT",
        f"/pipelines/{pipeline_id}",
        "name: changed\nsteps: [exit 1]\n",
        {"Content-Type": "application/yaml"},
    )
    assert changed.status == 200
    again = retry(server, first["job"]["id"])
    assert server.request("DELETE", f"/pipelines/{pipeline_id}").status in (200, 204)
    once_more = retry(server, again["job"]["id"])

    for details in (again, once_more):
        assert details["job"]["status"] == "success"
        assert details["steps"][0]["output"] == "first hello given\n"
        assert details["pipeline"]["config"] == config
        for field in ("commit", "image", "branch", "repo_name", "pipeline_id", "folder"):
            assert details["job"][field] == first["job"][field]
        assert [(e["key"], e["value"]) for e in details["environments"]] == [
            ("GREETING", "hello"),
            ("MORE", "given"),
        ]
    assert first["job"]["commit"] == commit


def test_a_retry_finds_its_commit_though_the_branch_was_rewritten(process_server: Server, repo: Repo) -> None:
    repo.commit({"a": "kept"})
    pipeline = {"name": "rewritten", "repo_name": repo.url, "branch": "main", "steps": ["cat a"]}
    first = process_server.run(pipeline)
    repo.git("commit", "--quiet", "--amend", "--message", "another")
    repo.commit({"a": "new"})
    assert process_server.run(pipeline)["steps"][0]["output"] == "new"
    assert retry(process_server, first["job"]["id"])["steps"][0]["output"] == "kept"


@pytest.mark.parametrize("steps", [["exit 1"], ["true"]])
def test_a_finished_build_can_be_retried_however_it_ended(process_server: Server, steps: list[str]) -> None:
    first = process_server.run({"name": "again", "steps": steps})
    again = retry(process_server, first["job"]["id"])
    assert again["job"]["status"] == first["job"]["status"]
    assert_ended_once(process_server, again["job"]["id"])


def test_a_build_that_was_cancelled_before_it_began_can_be_retried(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process", concurrency="1", grace="0").start()
    blocker = server.start_job({"name": "blocker", "steps": ["sleep 1000"]})
    job_id = server.start_job({"name": "cancelled", "steps": ["echo ran"]})
    assert server.post(f"/jobs/{job_id}/cancel").status == 200
    assert server.post(f"/jobs/{blocker}/cancel").status == 200
    assert retry(server, job_id)["steps"][0]["output"] == "ran\n"


def test_a_build_that_has_not_finished_can_not_be_retried(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process", concurrency="1", grace="0").start()
    running = server.start_job({"name": "running", "steps": ["echo ready; sleep 1000"]})
    pending = server.start_job({"name": "pending", "steps": ["true"]})
    server.wait_output(running, "ready")
    for job_id, state in ((running, "running"), (pending, "pending")):
        answer = server.post(f"/jobs/{job_id}/retry")
        assert answer.status == 400
        assert state in answer.json["error"]
    assert server.post("/jobs/1000000/retry").status == 404
