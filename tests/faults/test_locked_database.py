"""Another program holds the database of a server that runs builds."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing

from tests.support.consistency import assert_ended_once, assert_nothing_left
from tests.support.server import Server


def test_builds_go_on_when_the_database_was_locked(new_server: Callable[..., Server]) -> None:
    server = new_server().start()
    count = "i=0; while [ $i -lt 100 ]; do i=$((i+1)); echo line $i; sleep 0.02; done"
    job_id = server.start_job({"name": "locked", "steps": ["echo ready", count, "echo end"]})
    server.wait_output(job_id, "line 5\n")
    follower = server.follow(job_id)
    with closing(sqlite3.connect(server.data / "rapidflow.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        server.wait_output(job_id, "line 100\n")
        # What only reads goes on.
        assert server.get(f"/jobs/{job_id}/details").status == 200
        refused = server.post("/pipelines/1/jobs")
        assert (refused.status, refused.json["error"]) == (
            500,
            "the database can't be used now (database is locked); try again later",
        )
        time.sleep(1)
        other.execute("COMMIT")
    details = server.wait_finished(job_id)
    assert [step["output"] for step in details["steps"]][::2] == ["ready\n", "end\n"]
    assert follower.wait().decode() == server.stream(job_id)
    assert_ended_once(server, job_id)
    assert [job["id"] for job in server.get("/jobs").json] == [job_id]
    assert server.wait_finished(server.start_build(1))["job"]["status"] == "success"
    assert_nothing_left(server)
