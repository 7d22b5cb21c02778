"""Steps that run after the others, however these ended."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import sleep
from typing import Any

import pytest

from tests.support.builds import WAIT, engine
from tests.support.consistency import assert_ended_once, assert_nothing_left
from tests.support.server import Server, wait_for

NewServer = Callable[..., Server]
POST = ["echo $RAPIDFLOW_STATUS >>ran; echo collecting", "echo two >>ran; cat ran"]
"""They tell what they are told, and that each of them ran once."""


@pytest.fixture(params=["docker", "process"])
def server(request: pytest.FixtureRequest, new_server: NewServer) -> Server:
    """One with either executor, and little patience with steps that are to end."""
    return new_server(executor=request.param, grace="3s").start()


def start(server: Server, steps: list[Any], post: list[Any] = POST, **keys: Any) -> int:
    return server.start_job({"name": "post", "steps": steps, "post": post, **keys})


def ended(server: Server, job_id: int) -> dict[str, Any]:
    server.wait_finished(job_id)
    return assert_ended_once(server, job_id)


def statuses(details: dict[str, Any]) -> list[str]:
    return [step["status"] for step in details["steps"]]


def output(details: dict[str, Any], *numbers: int) -> str:
    return "".join(details["steps"][number - 1]["output"] for number in numbers)


def test_after_success(server: Server) -> None:
    details = ended(server, start(server, ["echo one"]))
    assert details["job"]["status"] == "success"
    assert statuses(details) == ["success"] * 3
    assert output(details, 2, 3) == "collecting\nsuccess\ntwo\n"


def test_after_a_failure_which_stays_the_error(server: Server) -> None:
    details = ended(server, start(server, ["exit 3", "echo never"], ["exit 4", *POST]))
    assert details["job"]["error"] == "step 1 (bash) exited with 3"
    assert statuses(details) == ["failed", "pending", "failed", "success", "success"]
    assert [step["exit_code"] for step in details["steps"]] == [3, None, 4, 0, 0]
    assert output(details, 4, 5) == "collecting\nfailed\ntwo\n"


def test_one_that_fails_fails_a_build_that_had_succeeded_and_the_next_one_runs(server: Server) -> None:
    details = ended(server, start(server, ["true"], ["exit 4", *POST]))
    assert details["job"]["error"] == "step 2 (bash) exited with 4"
    assert statuses(details) == ["success", "failed", "success", "success"]
    assert output(details, 3, 4) == "collecting\nfailed\ntwo\n"


def test_after_a_cancel_which_answers_when_they_have_ended(server: Server) -> None:
    step = f"trap 'echo cleaned; exit 5' TERM; echo ready; {WAIT}"
    job_id = start(server, ["echo one", step, "echo never"])
    server.wait_output(job_id, "ready\n")
    follower = server.follow(job_id)
    assert server.post(f"/jobs/{job_id}/cancel").status == 200
    details = assert_ended_once(server, job_id)
    assert details["job"]["status"] == "cancelled"
    assert statuses(details) == ["success", "cancelled", "cancelled", "success", "success"]
    assert [step["exit_code"] for step in details["steps"]] == [0, 5, None, 0, 0]
    assert all(step["started_at"] and step["finished_at"] for step in details["steps"][3:])
    assert follower.wait().decode() == (
        "=== Step 1 (bash) ===\none\n\n=== Step 2 (bash) ===\nready\ncleaned\n\n"
        "=== Step 4 (bash) ===\ncollecting\n\n=== Step 5 (bash) ===\ncancelled\ntwo\n\n"
        "=== Build cancelled ===\n=== Build completed ===\n"
    )


def test_while_they_run_after_a_cancel_the_build_runs_and_is_cancelled(server: Server) -> None:
    job_id = start(
        server, ["echo ready; sleep 1000"], ["echo waiting; while [ ! -e go ]; do sleep 0.05; done"]
    )
    server.wait_output(job_id, "ready\n")
    canceller = threading.Thread(target=server.post, args=(f"/jobs/{job_id}/cancel",))
    canceller.start()
    server.wait_output(job_id, "waiting\n")
    job = server.job(job_id)
    assert (job["status"], job["cancelled"]) == ("running", True)
    assert statuses(server.details(job_id)) == ["cancelled", "running"]
    # A second cancel ends them.
    assert server.post(f"/jobs/{job_id}/cancel").status == 200
    canceller.join()
    details = assert_ended_once(server, job_id)
    assert statuses(details) == ["cancelled", "cancelled"]
    assert_nothing_left(server)


def test_a_cancel_while_they_run_lets_them_end(server: Server) -> None:
    post = ["echo waiting; sleep 1; echo done", "echo last"]
    job_id = start(server, ["true"], post)
    server.wait_output(job_id, "waiting\n")
    assert server.post(f"/jobs/{job_id}/cancel").status == 200
    details = assert_ended_once(server, job_id)
    assert details["job"]["status"] == "cancelled"
    assert statuses(details) == ["success"] * 3
    assert output(details, 2, 3) == "waiting\ndone\nlast\n"


def test_after_a_timeout(server: Server) -> None:
    details = ended(server, start(server, ["sleep 1000"], timeout=8))
    assert details["job"]["error"] == "the build timed out after 8s"
    assert statuses(details) == ["failed", "success", "success"]
    assert output(details, 2, 3) == "collecting\nfailed\ntwo\n"


def test_after_a_silence(server: Server) -> None:
    details = ended(server, start(server, ["echo one; sleep 1000"], silence_timeout=1))
    assert details["job"]["error"] == "step 1 (bash) printed nothing for 1s"
    assert statuses(details) == ["failed", "success", "success"]


def test_after_too_much_output(server: Server) -> None:
    details = ended(server, start(server, ["exec yes"], log_limit="1m"))
    assert "printed over 10m" in details["job"]["error"]
    assert statuses(details) == ["failed", "success", "success"]
    assert output(details, 2, 3) == "collecting\nfailed\ntwo\n"


def test_after_a_step_that_does_not_listen_none_of_its_processes_is_left(server: Server) -> None:
    deaf = (
        "trap '' TERM; setsid sleep 7001 & env -i sleep 7001 & (setsid sh -c 'sleep 7001; true' &) ; "
        "echo ready; while :; do sleep 0.05; done"
    )
    job_id = start(server, [deaf], ["grep -lz '^7001' /proc/[0-9]*/cmdline 2>/dev/null || echo none", *POST])
    server.wait_output(job_id, "ready\n")
    assert server.post(f"/jobs/{job_id}/cancel").status == 200
    details = assert_ended_once(server, job_id)
    assert statuses(details) == ["cancelled", "success", "success", "success"]
    assert details["steps"][0]["exit_code"] == 137
    assert output(details, 2, 3, 4) == "none\ncollecting\ncancelled\ntwo\n"


def test_they_have_a_time_limit_of_their_own(server: Server) -> None:
    keys = {"timeout": 60, "post_timeout": 4}
    slow = ["echo one; sleep 2.5; echo two", "sleep 1000", "echo never"]
    details = ended(server, start(server, ["true"], slow, **keys))
    assert details["job"]["error"] == "the post steps timed out after 4s"
    assert statuses(details) == ["success", "success", "failed", "pending"]
    details = ended(server, start(server, ["exit 3"], slow, **keys))
    assert details["job"]["error"] == "step 1 (bash) exited with 3"
    job_id = start(server, ["echo ready; sleep 1000"], slow, post_timeout=1)
    server.wait_output(job_id, "ready\n")
    assert server.post(f"/jobs/{job_id}/cancel").status == 200
    details = assert_ended_once(server, job_id)
    assert (details["job"]["status"], statuses(details)[:2]) == ("cancelled", ["cancelled", "failed"])


def test_a_build_that_is_cancelled_before_its_first_step_has_none(new_server: NewServer) -> None:
    server = new_server(executor="process", concurrency="1", grace="1s").start()
    first = start(server, ["echo ready; sleep 1000"])
    second = start(server, ["true"])
    server.wait_output(first, "ready\n")
    assert server.post(f"/jobs/{second}/cancel").status == 200
    assert statuses(assert_ended_once(server, second)) == ["cancelled"] * 3
    assert server.post(f"/jobs/{first}/cancel").status == 200
    wait_for(lambda: server.job(first)["status"] == "cancelled", "the first one is cancelled")


def test_a_build_whose_container_is_killed_has_none(new_server: NewServer) -> None:
    server = new_server().start()
    job_id = start(server, ["echo ready; sleep 1000"])
    server.wait_output(job_id, "ready\n")
    engine("kill", server.job(job_id)["container_id"])
    details = ended(server, job_id)
    assert details["job"]["error"] == "the container ended during step 1 (bash) (exit code 137)"
    assert statuses(details) == ["failed", "pending", "pending"]


def test_the_api_says_which_steps_are_post(new_server: NewServer) -> None:
    server = new_server(executor="process").start()
    details = ended(server, start(server, ["true"]))
    assert [step.get("post", False) for step in details["steps"]] == [False, True, True]


def test_a_part_that_is_cancelled_runs_them_through_a_restart_until_the_build_is_cancelled_again(
    new_server: NewServer,
) -> None:
    server = new_server(executor="process", grace="1s").start()
    waits = "echo waiting; while [ ! -e go ]; do sleep 0.05; done"
    part = {"steps": ["echo ready; sleep 1000"], "post": [waits]}
    lead = server.start_job({"name": "several", "jobs": {"one": part}})
    wait_for(lambda: server.get(f"/jobs?lead_id={lead}").json, "the part runs")
    job_id = server.get(f"/jobs?lead_id={lead}").json[0]["id"]
    server.wait_output(job_id, "ready\n")
    server.request_and_leave("POST", f"/jobs/{lead}/cancel")
    server.wait_output(job_id, "waiting\n")
    server.kill()
    server.start()
    # What leads it cancels it again, which is no second cancel.
    follower = server.follow(job_id)
    sleep(2)
    assert statuses(server.details(job_id)) == ["cancelled", "running"]
    assert server.post(f"/jobs/{lead}/cancel").status == 200
    assert follower.wait().endswith(b"=== Build completed ===\n")
    assert statuses(server.details(job_id)) == ["cancelled", "cancelled"]
    assert server.job(lead)["status"] == "cancelled"


def test_the_first_cancel_of_a_build_leaves_the_steps_of_parts_that_were_to_end_already(
    new_server: NewServer,
) -> None:
    server = new_server(executor="process", grace="1s", concurrency="3").start()
    jobs = {
        "test": {
            "matrix": {"n": ["1", "2"]},
            "fail_fast": True,
            "steps": ["if [ ${{ matrix.n }} = 1 ]; then sleep 1; exit 1; fi; sleep 1000"],
            "post": ["test ${{ matrix.n }} = 1 || { echo waiting; sleep 1000; }"],
        },
        "goes-on": {"steps": ["sleep 1000"]},
    }
    lead = server.start_job({"name": "several", "jobs": jobs})
    wait_for(lambda: len(server.get(f"/jobs?lead_id={lead}").json) == 3, "the parts run")
    parts = {job["part"]: job["id"] for job in server.get(f"/jobs?lead_id={lead}").json}
    ended_early, goes_on = parts["test (n=2)"], parts["goes-on"]
    server.wait_output(ended_early, "waiting\n")

    server.request_and_leave("POST", f"/jobs/{lead}/cancel")

    server.wait_finished(goes_on)
    assert statuses(server.details(ended_early)) == ["cancelled", "running"]
    assert server.post(f"/jobs/{lead}/cancel").status == 200
    assert statuses(server.details(ended_early)) == ["cancelled", "cancelled"]
