"""Builds of several jobs in each kind of database: how they run, are listed, shown and removed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.server import Server, wait_for

_CONFIG = """\
name: several
concurrency: {group: all}
jobs:
  test: {matrix: {n: [1, 2, 3]}, max_parallel: 2, steps: [echo on]}
  again: {retry: 1, steps: ['test "$RAPIDFLOW_ATTEMPT" = 2']}
  allowed: {allow_failure: true, steps: [exit 1]}
  deploy: {needs: [test, again], approval: true, concurrency: {group: one}, priority: 5, steps: ['true']}
  fails: {needs: deploy, steps: ['echo error: broken; exit 4']}
  never: {needs: fails, steps: ['true']}
"""


@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_builds_of_several_jobs(
    new_server: Callable[..., Server], request: pytest.FixtureRequest, database: str
) -> None:
    settings = {"database_url": request.getfixturevalue("postgres").url} if database == "postgres" else {}
    server = new_server(executor="process", concurrency="3", keep_builds="1", **settings).start()
    pipeline_id = server.pipeline(_CONFIG)
    first, second = server.start_build(pipeline_id), server.start_build(pipeline_id)
    for job_id in (first, second):
        wait_for(
            lambda number=job_id: server.post(f"/jobs/{number}/approve", {"part": "deploy"}).status == 200,
            "it waits for an approval",
        )
        details = server.wait_finished(job_id)
        assert [step["part"]["state"] for step in details["steps"]] == [
            "success", "success", "success", "success", "forgiven", "success", "failed", "skipped",
        ]  # fmt: skip
        assert details["job"]["error"] == "fails: step 1 (bash) exited with 4"
    retried = server.post(f"/jobs/{second}/retry", {"only": "failed"}).json["id"]
    assert server.wait_finished(retried)["job"]["status"] == "failed"
    assert [job["part"] for job in server.get(f"/jobs?lead_id={retried}").json] == ["fails"]
    builds = [job["id"] for job in server.get("/jobs").json]
    assert builds == [job["id"] for job in server.get(f"/pipelines/{pipeline_id}/jobs").json]
    assert builds == [retried, second, first]
    for page in (
        "/", "/ui/builds", "/ui/pipelines", f"/ui/pipelines/{pipeline_id}", f"/ui/jobs/{first}",
        f"/pipelines/{pipeline_id}/badge.svg",
    ):  # fmt: skip
        assert server.get(page).status == 200, page
    parts = [job["id"] for job in server.get(f"/jobs?lead_id={first}").json]
    assert len(parts) == 8
    assert server.post("/prune").status == 200
    for job_id in (first, *parts):
        assert server.get(f"/jobs/{job_id}").status == 404
        assert not list((server.data / "logs").rglob(f"{job_id}.*"))
    assert server.get(f"/jobs/{retried}").status == 200
