"""The server is killed while builds are stopped and while their post steps run: each of these runs once."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.consistency import assert_ended_once, assert_nothing_left
from tests.support.server import Server, wait_for

KILLS = int(os.environ.get("TORTURE_KILLS", "3"))
SEED = int(os.environ.get("TORTURE_SEED", "0")) or random.randrange(1, 10**6)

_POST = 3
_KINDS = ("cancelled", "timeout", "failed", "success")


def _pipeline(kind: str) -> dict[str, Any]:
    last = {
        "cancelled": "trap 'sleep 0.3; exit 0' TERM; echo ready; while :; do sleep 0.05; done",
        "timeout": "trap '' TERM; echo ready; while :; do sleep 0.05; done",
        "failed": "echo ready; sleep 0.2; exit 3",
        "success": "echo ready; sleep 0.2",
    }[kind]
    post = [f"echo {number} >>ran; sleep 0.2" for number in range(1, _POST)]
    config = {"name": kind, "steps": ["echo 0 >>ran", last, "true"], "post": [*post, "cat ran"]}
    return config | ({"timeout": 8} if kind == "timeout" else {})


@pytest.mark.parametrize("executor", ["docker", "process"])
def test_post_steps_run_once_whenever_the_server_is_killed(
    new_server: Callable[..., Server], executor: str
) -> None:
    print(f"TORTURE_SEED={SEED}")
    randoms = random.Random(SEED)
    server = new_server(executor=executor, grace="1s").start()
    pipelines = {kind: server.pipeline(_pipeline(kind)) for kind in _KINDS}
    for _ in range(KILLS):
        jobs = {kind: server.start_build(pipeline) for kind, pipeline in pipelines.items()}
        for kind in ("cancelled", "timeout"):
            # Else, on a busy machine, its time may be over before its steps have begun.
            server.wait_output(jobs[kind], "ready\n")
        server.request_and_leave("POST", f"/jobs/{jobs['cancelled']}/cancel")
        cancelled = jobs["cancelled"]
        wait_for(lambda: server.job(cancelled)["cancelled"], "the cancel is stored")  # noqa: B023
        for _ in range(2):
            time.sleep(randoms.random() * 1.5)
            server.kill()
            server.start()
        for kind, job_id in jobs.items():
            server.wait_finished(job_id)
            details = assert_ended_once(server, job_id)
            ended = "failed" if kind == "timeout" else kind
            assert details["job"]["status"] == ended
            assert [step["status"] for step in details["steps"]] == [
                "success",
                ended,
                {"success": "success", "cancelled": "cancelled"}.get(kind, "pending"),
                *["success"] * _POST,
            ]
            assert details["steps"][-1]["output"] == "".join(f"{number}\n" for number in range(_POST))
    assert_nothing_left(server)
    assert "Traceback" not in server.log.read_text()
