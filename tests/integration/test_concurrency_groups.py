"""Concurrency groups: one build at a time, whatever started it, and the next one's turn after any end."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.support.repos import Repo
from tests.support.repositories import add, definition, push
from tests.support.server import FINISHED, Server, wait_for

_WAIT = "while [ ! -e {gate} ]; do sleep 0.05; done"


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    return tmp_path / "gate"


@pytest.fixture
def server(new_server: Callable[..., Server], repo: Repo) -> Server:
    return new_server(executor="process", file_roots=str(repo.path.parent)).start()


def added(server: Server, repo: Repo, gate: Path, when_busy: str) -> dict[str, Any]:
    more = f"concurrency: {{group: one, when_busy: {when_busy}}}\n"
    repo.commit({".rapidflow.yml": definition(more=more, steps=_WAIT.format(gate=gate))})
    return add(server, repo)


def pushed(server: Server, repo: Repo, made: dict[str, Any]) -> int:
    """A build of one more commit."""
    repo.commit({"a": repo.git("rev-parse", "HEAD")})
    return push(server, made["id"], repo)["decisions"][0]["job_id"]


def runs(server: Server, job_id: int) -> None:
    wait_for(lambda: server.job(job_id)["status"] == "running", f"job {job_id} runs")


def ends(server: Server, job_id: int) -> tuple[str, int | None]:
    job = server.wait_finished(job_id)["job"]
    return job["status"], job["superseded_by"]


def test_builds_of_a_group_wait_for_their_turn(server: Server, repo: Repo, gate: Path) -> None:
    made = added(server, repo, gate, "queue")
    first, second = pushed(server, repo, made), pushed(server, repo, made)
    by_hand = server.start_build(made["pipelines"][0]["id"])
    runs(server, first)
    wait_for(lambda: "group" in (server.job(by_hand)["waits_for"] or ""), "it waits")
    assert "'one'" in server.job(second)["waits_for"]
    server.kill()
    server.start()
    gate.touch()
    for job_id in (first, second, by_hand):
        assert ends(server, job_id) == ("success", None)
    jobs = [server.job(job_id) for job_id in (first, second, by_hand)]
    for one, other in pairwise(jobs):
        assert one["finished_at"] <= other["started_at"]


def test_what_waits_is_replaced_by_what_is_newer(server: Server, repo: Repo, gate: Path) -> None:
    made = added(server, repo, gate, "replace")
    first = pushed(server, repo, made)
    runs(server, first)
    second, third = pushed(server, repo, made), pushed(server, repo, made)
    assert ends(server, second) == ("cancelled", third)
    by_hand = server.start_build(made["pipelines"][0]["id"])
    assert ends(server, third) == ("cancelled", by_hand)
    assert server.job(first)["status"] == "running"
    gate.touch()
    assert ends(server, first) == ends(server, by_hand) == ("success", None)


def test_what_runs_is_cancelled_by_what_is_newer(server: Server, repo: Repo, gate: Path) -> None:
    made = added(server, repo, gate, "cancel")
    first = pushed(server, repo, made)
    runs(server, first)
    second = pushed(server, repo, made)
    assert ends(server, first) == ("cancelled", second)
    runs(server, second)
    # Killed before it has cancelled what is superseded, the server does it when it is back.
    server.kill()
    server.sql("UPDATE job SET superseded_by = ? WHERE id = ?", first, second)
    server.start()
    assert ends(server, second) == ("cancelled", first)
    third = pushed(server, repo, made)
    runs(server, third)
    server.post(f"/jobs/{third}/cancel")
    assert ends(server, third)[0] in FINISHED
    gate.touch()
    assert ends(server, pushed(server, repo, made)) == ("success", None)


def test_stored_pipelines_share_their_groups(server: Server, repo: Repo, gate: Path) -> None:
    def stored(name: str, when_busy: str) -> int:
        more = f"concurrency: {{group: deploy, when_busy: {when_busy}}}\n"
        return server.pipeline(f"name: {name}\n{more}steps:\n  - {_WAIT.format(gate=gate)}\n")

    first = server.start_build(stored("a", "queue"))
    runs(server, first)
    second = server.start_build(stored("b", "queue"))
    assert "'deploy'" in server.job(second)["waits_for"]
    third = server.start_build(stored("c", "cancel"))
    assert ends(server, first) == ends(server, second) == ("cancelled", third)
    # Those of a repository have the same name, and are another group.
    runs(server, pushed(server, repo, added(server, repo, gate, "queue")))
    assert server.job(third)["status"] == "running"
    gate.touch()
    assert ends(server, third) == ("success", None)


def test_a_group_for_each_ref_is_one_for_each_branch_of_a_stored_pipeline(
    server: Server, repo: Repo, gate: Path
) -> None:
    repo.commit({"a": "1"})
    repo.git("branch", "other")
    group = '{group: "${{ pipeline }}-${{ ref }}", when_busy: cancel}'
    source = f"repo_name: {repo.url}\nbranch: main\n"
    steps = f"steps:\n  - {_WAIT.format(gate=gate)}\n"
    pipeline = server.pipeline(f"name: a\n{source}concurrency: {group}\n{steps}")
    first, other = server.start_build(pipeline), server.start_build(pipeline, branch="other")
    runs(server, first)
    runs(server, other)
    second = server.start_build(pipeline, branch="main")
    assert ends(server, first) == ("cancelled", second)
    gate.touch()
    assert ends(server, other) == ends(server, second) == ("success", None)


def test_a_retry_takes_the_place_of_what_runs(server: Server, repo: Repo, gate: Path) -> None:
    made = added(server, repo, gate, "cancel")
    config = f"name: a\nconcurrency: {{group: g, when_busy: cancel}}\nsteps:\n  - {_WAIT.format(gate=gate)}\n"
    stored = server.pipeline(config)
    for begin in (lambda: pushed(server, repo, made), lambda: server.start_build(stored)):
        first = begin()
        runs(server, first)
        server.post(f"/jobs/{first}/cancel")
        second = begin()
        runs(server, second)
        again = server.post(f"/jobs/{first}/retry").json["id"]
        assert ends(server, second) == ("cancelled", again)
        runs(server, again)
    gate.touch()


def test_what_waits_for_a_slot_alone_does_not_wait_for_its_group(
    new_server: Callable[..., Server], repo: Repo, gate: Path
) -> None:
    server = new_server(executor="process", concurrency="1").start()
    made = added(server, repo, gate, "queue")
    before = gate.with_name("before")
    other = server.start_build(server.pipeline(f"name: a\nsteps:\n  - {_WAIT.format(gate=before)}\n"))
    runs(server, other)
    first, second = pushed(server, repo, made), pushed(server, repo, made)
    for job_id, words in ((first, "it is next"), (second, "1 build is ahead of it")):
        assert server.job(job_id)["waits_for"] is None
        page = server.get(f"/ui/jobs/{job_id}").text
        assert f"Waiting for a free slot; {words}" in page
    assert "next, waiting for a slot" in server.get("/").text
    before.touch()
    runs(server, first)
    said = f"job {first} of the concurrency group 'one' to end"
    wait_for(lambda: server.job(second)["waits_for"] == said, "it waits for the other")
    assert server.get(f"/jobs/{second}/details").json["job"]["waits_for"] == said
    assert [one["waits_for"] for one in server.get("/jobs?status=pending").json] == [said]
    assert f"waits for #{first} of its concurrency group" in server.get("/").text
    gate.touch()
    assert ends(server, second) == ("success", None)


def test_what_is_superseded_is_cancelled_though_the_server_is_killed_meanwhile(
    server: Server, repo: Repo, gate: Path
) -> None:
    made = added(server, repo, gate, "cancel")
    # A build that takes its time to end, so that the kill comes before that.
    slow = f"trap '' TERM; touch {gate}.begun; {_WAIT.format(gate=gate)}"
    more = "concurrency: {group: one, when_busy: cancel}\n"
    repo.commit({".rapidflow.yml": definition(more=more, steps=slow)})
    first = push(server, made["id"], repo)["decisions"][0]["job_id"]
    wait_for(gate.with_name("gate.begun").exists, "its step has begun")
    second = pushed(server, repo, made)
    wait_for(lambda: server.job(first)["superseded_by"] == second, "it is superseded")
    assert server.job(first)["status"] == "running"
    server.kill()
    server.start()
    assert ends(server, first) == ("cancelled", second)
    runs(server, second)
    gate.touch()
    assert ends(server, second) == ("success", None)
