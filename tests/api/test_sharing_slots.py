"""Slots are shared fairly between builds of several jobs and others."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support import gates
from tests.support.consistency import stored
from tests.support.server import Server, wait_for


def test_a_large_matrix_keeps_no_other_build_waiting(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process", concurrency="2").start()
    values = ", ".join(str(number) for number in range(200))
    matrix = server.start_job(
        f"name: large\njobs:\n  test:\n    matrix: {{n: [{values}]}}\n    steps: ['{gates.waiting()}']\n"
    )
    parts = f"/jobs?lead_id={matrix}&limit=200"
    wait_for(lambda: len(server.get(parts).json) == 200, "all parts wait for a slot")
    running = server.get(f"{parts}&status=running").json
    assert len(running) == 2
    single = server.start_job("name: single\nsteps: ['true']\n")
    two = server.start_job("name: two\njobs:\n  a: {steps: ['true']}\n  b: {steps: ['true']}\n")
    # One of the slots gets free, and the builds with nothing running come before the rest of the matrix.
    gates.let_go(server, running[0]["id"])
    assert server.wait_finished(single)["job"]["status"] == "success"
    assert server.wait_finished(two)["job"]["status"] == "success"
    started = {job["id"] for job in server.get(parts).json if job["started_at"] is not None}
    assert len(started) <= 5
    assert server.post(f"/jobs/{matrix}/cancel").status == 200
    assert server.job(matrix)["status"] == "cancelled"


def test_a_part_with_a_higher_priority_comes_first(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process", concurrency="1").start()
    holder = server.start_job(f"name: holder\nsteps: ['{gates.waiting()}']\n")
    server.wait_output(holder, "Step 1")
    builds = [
        server.start_job(f"name: x\njobs:\n  a: {{priority: {priority}, steps: ['true']}}\n")
        for priority in (0, 10, -5)
    ]
    wait_for(lambda: all(server.get(f"/jobs?lead_id={one}").json for one in builds), "all wait for a slot")
    gates.let_go(server, holder)
    for one in builds:
        server.wait_finished(one)
    first, high, low = (server.get(f"/jobs?lead_id={one}").json[0]["id"] for one in builds)
    order = server.log.read_text()
    assert order.index(f"job {high}: started") < order.index(f"job {first}: started")
    assert order.index(f"job {first}: started") < order.index(f"job {low}: started")


def test_builds_of_a_group_follow_each_other_also_after_a_kill(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process", concurrency="4").start()
    pipeline_id = server.pipeline(
        "name: deploys\njobs:\n  deploy:\n    concurrency: {group: deploy}\n"
        f"    steps: ['{gates.waiting()}']\n"
    )
    builds = [server.start_build(pipeline_id) for _ in range(5)]
    wait_for(lambda: all(server.get(f"/jobs?lead_id={one}").json for one in builds), "all are jobs")
    ended: list[int] = []
    while len(ended) < len(builds):
        running = [
            (one, job["id"])
            for one in builds
            for job in server.get(f"/jobs?lead_id={one}").json
            if job["status"] == "running"
        ]
        assert len(running) <= 1
        for build, job_id in running:
            server.wait_output(job_id, "Step 1")
            server.kill()
            server.start()
            gates.let_go(server, job_id)
            server.wait_finished(build)
            ended.append(build)
    assert ended == builds


def test_builds_of_one_job_and_of_several_take_turns_in_a_group(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process", concurrency="4").start()
    holder = server.start_job(f"name: holder\nconcurrency: one\nsteps: ['{gates.waiting()}']\n")
    server.wait_output(holder, "Step 1")
    single = server.pipeline("name: single\nconcurrency: one\nsteps: ['true']\n")
    several = server.pipeline("name: several\nconcurrency: one\njobs:\n  a: {steps: ['true']}\n")
    part = server.pipeline("name: part\njobs:\n  a: {concurrency: one, steps: ['true']}\n")
    builds = [server.start_build(one) for one in (single, several, single, several, single, part, several)]
    wait_for(lambda: server.get(f"/jobs?lead_id={builds[5]}").json, "the part waits for its turn")
    gates.let_go(server, holder)
    for job_id in builds:
        assert server.wait_finished(job_id)["job"]["status"] == "success"
    began = stored(
        server,
        "SELECT id FROM job WHERE concurrency_group IS NOT NULL AND (lead_id IS NULL OR lead_id = ?) "
        "ORDER BY started_at, id",
        builds[5],
    )
    of_part = server.get(f"/jobs?lead_id={builds[5]}").json[0]["id"]
    # In the order of their numbers.
    assert [row[0] for row in began] == sorted([holder, *builds[:5], builds[6], of_part])


def _crosswise(server: Server, names: str) -> list[int]:
    """Builds that each have a group, and a part that waits for the group of the next."""
    builds = [
        server.start_job(
            f"name: {mine}\nconcurrency: {mine}\njobs:\n  a: {{steps: ['{gates.waiting()}']}}\n"
            f"  b: {{needs: [a], concurrency: {other}, steps: ['true']}}\n"
        )
        for mine, other in zip(names, names[1:] + names[0], strict=True)
    ]
    for build in builds:
        wait_for(lambda build=build: server.get(f"/jobs?lead_id={build}").json, "its first part is a job")
        (part,) = server.get(f"/jobs?lead_id={build}").json
        server.wait_output(part["id"], "Step 1")
        gates.let_go(server, part["id"])
    return builds


@pytest.mark.parametrize("names", ["xy", "xyz"])
def test_builds_that_wait_crosswise_for_their_groups_do_not_do_so_for_ever(
    new_server: Callable[..., Server], names: str
) -> None:
    server = new_server(executor="process", concurrency="4").start()
    *others, newest = _crosswise(server, names)
    failed = server.wait_finished(newest)
    assert failed["job"]["status"] == "failed"
    assert f"build {others[0]} held the concurrency group that it needed" in failed["job"]["error"]
    for build in others:
        assert server.wait_finished(build)["job"]["status"] == "success"


def test_a_part_does_not_wait_for_the_group_of_its_own_build(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process", concurrency="4").start()
    parts = "".join(f"  {name}: {{concurrency: x, steps: ['{gates.waiting()}']}}\n" for name in "ab")
    build = server.start_job(f"name: own\nconcurrency: x\njobs:\n{parts}")
    path = f"/jobs?lead_id={build}"
    wait_for(lambda: len(server.get(path).json) == 2, "both parts are jobs")
    first = min(job["id"] for job in server.get(path).json)
    server.wait_output(first, "Step 1")
    assert server.job(first + 1)["waits_for"] == f"job {first} of the concurrency group 'x' to end"
    for page in (f"/ui/jobs/{build}", f"/ui/jobs/{first + 1}"):
        text = server.get(page).text
        assert f"#{first}" in text and f"aits for #{build}," not in text, page
    gates.let_go(server, first)
    server.wait_output(first + 1, "Step 1")
    gates.let_go(server, first + 1)
    assert server.wait_finished(build)["job"]["status"] == "success"
