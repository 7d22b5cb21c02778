"""Builds whose source can't be fetched for a moment, because a forge is being restarted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.git_daemon import GitDaemon
from tests.support.repos import Repo
from tests.support.repositories import put
from tests.support.server import Server, wait_for


@pytest.fixture
def forge(repos: Path) -> Iterator[GitDaemon]:
    forge = GitDaemon(repos).start()
    yield forge
    forge.stop()


@pytest.fixture
def pipeline(process_server: Server, repo: Repo, forge: GitDaemon) -> int:
    """A pipeline that was built once."""
    repo.commit({"a": "first"})
    url = f"git://{forge.address}/{repo.path.name}"
    pipeline = process_server.pipeline({"name": "of a forge", "repo_name": url, "steps": ["cat a"]})
    details = process_server.wait_finished(process_server.start_build(pipeline))
    assert details["steps"][0]["output"] == "first"
    return pipeline


def source(server: Server, job: int) -> str:
    """What the timeline says of the source."""
    timeline = server.get(f"/jobs/{job}/timeline").json
    return next((phase["detail"] or "" for phase in timeline if phase["name"] == "source"), "")


def waiting(server: Server, pipeline: int) -> int:
    """A build that waits for the forge."""
    job = server.start_build(pipeline)
    wait_for(lambda: "Connection refused; trying again" in source(server, job), "the build tries again")
    return job


def test_a_build_waits_for_a_forge_that_is_restarted(
    process_server: Server, repo: Repo, forge: GitDaemon, pipeline: int
) -> None:
    repo.commit({"a": "second"})
    forge.stop()
    job = waiting(process_server, pipeline)
    forge.start()
    details = process_server.wait_finished(job)
    assert (details["job"]["error"], details["steps"][0]["output"]) == (None, "second")
    assert source(process_server, job) == f"commit {repo.git('rev-parse', 'HEAD')[:12]}"


def test_a_build_whose_definition_is_in_the_repository_waits_too(
    process_server: Server, repo: Repo, forge: GitDaemon
) -> None:
    repo.commit({".rapidflow.yml": "name: of a forge\nsteps: [echo built]\n"})
    url = f"git://{forge.address}/{repo.path.name}"
    answer = process_server.post("/repositories", {"url": url})
    assert answer.status == 201, answer.text
    put(process_server, answer.json["id"], poll="off")
    pipeline = answer.json["pipelines"][0]["id"]
    assert process_server.wait_finished(process_server.start_build(pipeline))["job"]["error"] is None
    forge.stop()
    repo.commit({"a": "b"})
    job = process_server.start_build(pipeline)
    shown = f"/ui/jobs/{job}"
    wait_for(lambda: "trying again" in process_server.get(shown).text, "the page says that it tries again")
    forge.start()
    details = process_server.wait_finished(job)
    assert (details["job"]["error"], details["steps"][0]["output"]) == (None, "built\n")


def test_a_build_that_waits_for_a_forge_can_be_cancelled(
    process_server: Server, forge: GitDaemon, pipeline: int
) -> None:
    forge.stop()
    job = waiting(process_server, pipeline)
    process_server.post(f"/jobs/{job}/cancel")
    assert process_server.wait_finished(job, seconds=10)["job"]["status"] == "cancelled"


def test_what_is_wrong_is_not_tried_again(process_server: Server, repo: Repo, pipeline: int) -> None:
    job = process_server.start_build(pipeline, branch="nowhere")
    error = process_server.wait_finished(job, seconds=10)["job"]["error"]
    assert error is not None and "there is no branch 'nowhere'" in error
