"""How the parts of a build end that did not run: their states, and the ends of their logs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.support.consistency import assert_ended_once
from tests.support.server import Server, wait_for

_PARTS = 12
_WAITS = {"name": "waits", "concurrency": "one", "steps": ["echo ready; sleep 1000"]}


def _states(server: Server, job_id: int) -> list[tuple[str, str, str]]:
    steps: list[dict[str, Any]] = server.details(job_id)["steps"]
    return [(step["status"], step["part"]["state"], step["part"]["reason"]) for step in steps]


def test_logs_of_parts_end_that_are_cancelled_before_they_have_a_slot(
    new_server: Callable[..., Server],
) -> None:
    server = new_server(executor="process", concurrency="1", grace="0").start()
    server.wait_output(server.start_job({**_WAITS, "concurrency": "other"}), "ready")
    numbers = [str(number) for number in range(_PARTS)]
    lead = server.start_job({"name": "many", "jobs": {"test": {"matrix": {"n": numbers}, "steps": ["true"]}}})
    path = f"/jobs?lead_id={lead}&status=pending&limit=100"
    wait_for(lambda: len(server.get(path).json) == _PARTS, "all parts wait for a slot")
    parts = server.get(path).json
    assert server.post(f"/jobs/{lead}/cancel").status == 200
    for part in parts:
        assert server.get(f"/jobs/{part['id']}/logs/stream").text.endswith("=== Build completed ===\n")
        assert_ended_once(server, part["id"])
    assert_ended_once(server, lead)


def test_no_part_waits_for_ever_in_a_build_that_is_cancelled_before_it_begins(
    new_server: Callable[..., Server],
) -> None:
    server = new_server(executor="process", concurrency="1", grace="0").start()
    server.wait_output(server.start_job(_WAITS), "ready")
    jobs = {"build": {"steps": ["true"]}, "deploy": {"needs": "build", "approval": True, "steps": ["true"]}}
    lead = server.start_job({"name": "never", "concurrency": "one", "jobs": jobs})
    assert server.post(f"/jobs/{lead}/cancel").status == 200
    assert _states(server, lead) == [("cancelled", "cancelled", "the build was cancelled")] * 2
    # What is done again begins anew.
    again = server.request(
        "POST", f"/jobs/{lead}/retry", json.dumps({"only": "failed"}), {"Content-Type": "application/json"}
    ).json["id"]
    assert [state for _, state, _ in _states(server, again)] == ["waiting"] * 2


def test_no_part_waits_for_ever_in_a_build_whose_pipeline_is_not_valid_any_more(
    new_server: Callable[..., Server],
) -> None:
    server = new_server(executor="process", concurrency="1", grace="0").start()
    server.wait_output(server.start_job(_WAITS), "ready")
    jobs = {"build": {"steps": ["true"]}, "deploy": {"needs": "build", "steps": ["true"]}}
    lead = server.start_job({"name": "never", "concurrency": "one", "jobs": jobs})
    server.kill()
    server.sql("UPDATE definition SET config = 'no longer: valid' WHERE name = 'never'")
    server.start()
    for job in server.get("/jobs?status=running").json:
        server.post(f"/jobs/{job['id']}/cancel")
    assert server.wait_finished(lead)["job"]["status"] == "failed"
    assert [state[1:] for state in _states(server, lead)] == [("cancelled", "the build failed")] * 2
    assert_ended_once(server, lead)
