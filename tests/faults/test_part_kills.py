"""The server is killed at random moments while builds of several jobs run: every part runs once, to the byte.

In `make test` a few kills; `make torture` sets TORTURE_KILLS.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.support.consistency import assert_ended_once, assert_nothing_left
from tests.support.resuming import ResumingFollower
from tests.support.server import FINISHED, Server

KILLS = int(os.environ.get("TORTURE_KILLS", "6"))
SEED = int(os.environ.get("TORTURE_SEED", "0")) or random.randrange(1, 10**6)

_AT_ONCE = 2
_LINES = 40
_PRINT = f"i=0; while [ $i -lt {_LINES} ]; do i=$((i+1)); echo $RAPIDFLOW_PART $i; sleep 0.02; done"
_CONFIG = {
    "name": "parts",
    "jobs": {
        "begin": {"steps": [_PRINT]},
        "test": {
            "needs": "begin",
            "matrix": {"n": ["1", "2", "3", "4", "5"]},
            "max_parallel": 2,
            "steps": [_PRINT],
        },
        "again": {"needs": "begin", "retry": 1, "steps": [_PRINT, 'test "$RAPIDFLOW_ATTEMPT" = 2']},
        "allowed": {"allow_failure": True, "steps": [_PRINT, "exit 3"]},
        "deploy": {"needs": ["test", "again"], "concurrency": {"group": "deploy"}, "steps": [_PRINT]},
        "never": {"needs": "deploy", "if": "failure()", "steps": [_PRINT]},
    },
}
_JOBS = {"begin": 1, "again": 2, "allowed": 1, "deploy": 1} | {f"test (n={n})": 1 for n in range(1, 6)}
"""How often each part is run."""


def _check(server: Server, job_id: int) -> None:
    details = server.wait_finished(job_id, seconds=180)
    assert (details["job"]["status"], details["job"]["error"]) == ("success", None)
    attempts: list[dict[str, Any]] = server.get(f"/jobs?lead_id={job_id}&limit=100").json
    assert Counter(job["part"] for job in attempts) == _JOBS
    for job in attempts:
        first = server.details(job["id"])["steps"][0]
        assert first["output"] == "".join(f"{job['part']} {n}\n" for n in range(1, _LINES + 1))
        assert_ended_once(server, job["id"])
    lines = server.stream(job_id).splitlines()
    assert [count for count in Counter(lines).values() if count > 1] == []
    for name, times in _JOBS.items():
        assert sum(line.startswith(f"{name}: runs as job ") for line in lines) <= times
    assert lines[-1] == "=== Build completed ==="


def test_every_part_runs_once_whenever_the_server_is_killed(new_server: Callable[..., Server]) -> None:
    print(f"TORTURE_SEED={SEED}")
    randoms = random.Random(SEED)
    server = new_server(concurrency="4", grace="1s", parked="2").start()
    pipeline_id = server.pipeline(_CONFIG)
    builds: list[int] = []
    followers: list[tuple[int, ResumingFollower]] = []
    for _ in range(KILLS):
        running = [job_id for job_id in builds if server.job(job_id)["status"] not in FINISHED]
        for _ in range(_AT_ONCE - len(running)):
            builds.append(server.start_build(pipeline_id))
            followers.append((builds[-1], ResumingFollower(server, builds[-1])))
        time.sleep(randoms.random() * 1.5)
        server.kill()
        server.start()
    for job_id in builds:
        _check(server, job_id)
    for job_id, follower in followers:
        assert follower.wait() == server.get(f"/jobs/{job_id}/logs/stream").body
    assert_nothing_left(server)
    assert "Traceback" not in server.log.read_text()
