"""What whoever runs the server asks it: is it ready, and what are its numbers."""

from __future__ import annotations

import re
from collections.abc import Callable

from tests.support.server import Server, wait_for


def numbers(server: Server) -> dict[str, float]:
    """The metrics, by name and labels."""
    answer = server.get("/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    lines = re.findall(r"^(rapidflow_\S+) (\S+)$", answer.text, re.MULTILINE)
    return {name: float(value) for name, value in lines}


def test_a_server_that_can_run_builds_is_ready(server: Server) -> None:
    answer = server.get("/ready")
    assert answer.status == 200
    assert answer.json == {"status": "ready", "database": "ok", "engine": "ok", "disk": "ok"}


def test_builds_steps_and_bytes_are_counted(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process", concurrency="1").start()
    before = numbers(server)
    assert before['rapidflow_builds_total{result="success"}'] == 0
    assert before['rapidflow_ready{part="engine"}'] == 1
    good = server.start_job({"name": "good", "steps": ["seq 1000", "true"]})
    follower = server.follow(good)
    log = follower.wait()
    # Before the next build, because waiting for its end reads its stream.
    wait_for(lambda: numbers(server)["rapidflow_stream_bytes_total"] == len(log), "what was sent is counted")
    server.run({"name": "bad", "steps": ["true", "false"]})
    wait_for(lambda: numbers(server)['rapidflow_builds_total{result="failed"}'] == 1, "it is counted")
    after = numbers(server)
    assert after['rapidflow_builds_total{result="success"}'] == 1
    assert after['rapidflow_step_seconds_count{result="success"}'] == 3
    assert after['rapidflow_step_seconds_count{result="failed"}'] == 1
    assert after["rapidflow_log_bytes_total"] > len(log)
    assert after["rapidflow_wait_seconds_count"] == 2


def test_what_runs_waits_and_follows_now_is_counted(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process", concurrency="1").start()
    holder = server.start_job({"name": "holder", "steps": ["echo up; sleep 1000"]})
    server.wait_output(holder, "up")
    waits = server.start_job({"name": "waits", "steps": ["true"]})
    follower = server.follow(holder)
    follower.wait_for(b"up")
    wait_for(lambda: numbers(server)["rapidflow_followers"] == 1, "those before are gone")
    now = numbers(server)
    assert (now["rapidflow_running_builds"], now["rapidflow_queued_builds"]) == (1, 1)
    assert now["rapidflow_queue_age_seconds"] > 0
    for job_id in (waits, holder):
        assert server.post(f"/jobs/{job_id}/cancel").status == 200
    follower.wait()
    wait_for(lambda: numbers(server)["rapidflow_followers"] == 0, "nobody follows", 10)
    now = numbers(server)
    assert (now["rapidflow_running_builds"], now["rapidflow_queued_builds"]) == (0, 0)
    assert now["rapidflow_queue_age_seconds"] == 0
    assert now['rapidflow_builds_total{result="cancelled"}'] == 2
    wait_for(lambda: numbers(server)["rapidflow_loop_lag_seconds_count"] > 0, "the lag is measured", 10)
