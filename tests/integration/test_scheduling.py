"""When builds start, how many run at once, and how long they may take."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.server import Server, containers_of, wait_for


def waiting(name: str = "waiting") -> dict[str, object]:
    """A pipeline whose build goes on until it is stopped."""
    return {"name": name, "steps": ["echo ready; sleep 1000"]}


def statuses(server: Server, ids: list[int]) -> list[str]:
    return [server.job(job_id)["status"] for job_id in ids]


def test_as_many_builds_run_at_once_as_the_setting_says_first_come_first_served(
    new_server: Callable[..., Server],
) -> None:
    server = new_server(concurrency="2", grace="0").start()
    pipeline_id = server.pipeline(waiting())
    ids = [server.start_build(pipeline_id) for _ in range(4)]
    for job_id in ids[:2]:
        server.wait_output(job_id, "ready")
    assert statuses(server, ids) == ["running", "running", "pending", "pending"]
    assert [server.job(job_id)["started_at"] for job_id in ids[2:]] == [None, None]

    assert server.post(f"/jobs/{ids[1]}/cancel").status == 200
    server.wait_output(ids[2], "ready")
    assert statuses(server, ids) == ["running", "cancelled", "running", "pending"]

    # One that was cancelled while it waited does not take the place of the next.
    assert server.post(f"/jobs/{ids[3]}/cancel").status == 200
    later = server.start_build(pipeline_id)
    assert server.post(f"/jobs/{ids[0]}/cancel").status == 200
    server.wait_output(later, "ready")
    assert statuses(server, ids) == ["cancelled", "cancelled", "running", "cancelled"]
    assert len(containers_of(server)) == 2


def test_builds_start_in_the_order_in_which_they_were_asked_for(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process", concurrency="1").start()
    pipeline_id = server.pipeline({"name": "short", "steps": ["true"]})
    ids = [server.start_build(pipeline_id) for _ in range(6)]
    for job_id in ids:
        server.wait_finished(job_id)
    timelines = [server.get(f"/jobs/{job_id}/timeline").json for job_id in ids]
    queued_until = [timeline[0]["finished_at"] for timeline in timelines]
    assert queued_until == sorted(queued_until)
    assert statuses(server, ids) == ["success"] * 6


def test_page_of_a_waiting_build_shows_the_timeline_that_the_api_has(
    new_server: Callable[..., Server],
) -> None:
    server = new_server(concurrency="1", executor="process", grace="0").start()
    pipeline_id = server.pipeline(waiting())
    server.wait_output(server.start_build(pipeline_id), "ready")
    waits = server.start_build(pipeline_id)

    page = server.get(f"/ui/jobs/{waits}").text

    assert [phase["name"] for phase in server.get(f"/jobs/{waits}/timeline").json] == ["queued"]
    assert '<ol class="phases">' in page and "<span>Queued</span>" in page


def test_a_build_that_takes_too_long_is_stopped_with_its_reason(process_server: Server) -> None:
    step = "trap 'echo cleaning; exit 1' TERM; echo ready; while :; do sleep 0.05; done 2>/dev/null"
    details = process_server.run({"name": "slow", "timeout": "2s", "steps": [step, "true"]})
    assert details["job"]["status"] == "failed"
    assert details["job"]["error"] == "the build timed out after 2s"
    assert details["job"]["cancelled"] is False
    assert [step["status"] for step in details["steps"]] == ["failed", "pending"]
    assert details["steps"][0]["output"] == "ready\ncleaning\n"
    stream = process_server.stream(details["job"]["id"])
    assert stream.endswith("=== Build failed: the build timed out after 2s ===\n=== Build completed ===\n")


def test_the_timeout_of_the_settings_counts_where_the_pipeline_has_none(
    new_server: Callable[..., Server],
) -> None:
    server = new_server(timeout="1s", grace="0").start()
    details = server.run(waiting())
    assert details["job"]["error"] == "the build timed out after 1s"
    wait_for(lambda: containers_of(server) == [], "the container is gone")


@pytest.mark.parametrize("count", [8])
def test_many_builds_at_once_all_end_well(new_server: Callable[..., Server], count: int) -> None:
    server = new_server(concurrency=str(count)).start()
    pipeline_id = server.pipeline(
        {"name": "many", "steps": ["seq 20000", "echo $RAPIDFLOW_JOB_ID", "seq 20000"]}
    )
    ids = [server.start_build(pipeline_id) for _ in range(count)]
    numbers = "".join(f"{number}\n" for number in range(1, 20001))
    for job_id in ids:
        details = server.wait_finished(job_id)
        assert [step["output"] for step in details["steps"]] == [numbers, f"{job_id}\n", numbers]
    wait_for(lambda: containers_of(server) == [], "all containers are gone")
