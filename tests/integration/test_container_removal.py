"""The removal of containers whose builds have ended leaves the engine to builds that begin."""

from __future__ import annotations

import sys
from collections.abc import Callable

from tests.support.server import Server, containers_of, wait_for

UNHURRIED = (
    sys.executable,
    "-c",
    "from rapidflow_web.executors.docker import pool\n"
    "pool._REST_SECONDS = pool._LONGEST_REST = 3600\n"
    "import rapidflow_web.__main__\n",
)
"""The server, which leaves the engine to builds that begin for an hour before it removes what has ended."""


def test_builds_that_wait_for_slots_have_what_has_ended_removed(new_server: Callable[..., Server]) -> None:
    server = new_server(concurrency="1")
    server.program = UNHURRIED
    server.start()
    pipeline = server.pipeline({"name": "small", "steps": ["true"]})
    job_ids = [server.start_build(pipeline) for _ in range(6)]
    assert {server.wait_finished(job_id)["job"]["status"] for job_id in job_ids} == {"success"}
    # The last has nobody that waits for it.
    wait_for(lambda: len(containers_of(server)) <= 1, "what has ended is removed")
