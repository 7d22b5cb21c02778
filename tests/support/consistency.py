"""What must agree about a build that has ended: API, database and log."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

from tests.support.builds import processes_of
from tests.support.server import FINISHED, Server, containers_of, described, wait_for

_LAST_LINES = {
    "success": "=== Build completed ===\n",
    "cancelled": "=== Build cancelled ===\n=== Build completed ===\n",
}


def stored(server: Server, query: str, *values: Any) -> list[tuple[Any, ...]]:
    """Rows of the server's database."""
    path = f"file:{server.data}/rapidflow.db?mode=ro"
    with closing(sqlite3.connect(path, uri=True, timeout=10)) as database:
        return database.execute(query, values).fetchall()


def assert_ended_once(server: Server, job_id: int) -> dict[str, Any]:
    """The details of a job that has ended; API, database and log agree on how, and nothing is left of it."""
    details = server.details(job_id)
    job = details["job"]
    assert job["status"] in FINISHED
    assert job["cancelled"] is (job["status"] == "cancelled")
    assert (job["error"] is None) is (job["status"] != "failed")
    assert job["finished_at"] is not None

    wait_for(
        lambda: stored(server, "SELECT log_size FROM job WHERE id = ?", job_id)[0][0], "the log is sealed"
    )
    row = stored(server, "SELECT status, cancelled, error, log_size FROM job WHERE id = ?", job_id)[0]
    stream = server.get(f"/jobs/{job_id}/logs/stream").body
    assert row == (job["status"], int(job["cancelled"]), job["error"], len(stream))
    last = _LAST_LINES.get(job["status"], f"=== Build failed: {job['error']} ===\n=== Build completed ===\n")
    assert stream.decode("utf-8", "replace").endswith(last)
    assert stream.count(b"=== Build ") == last.count("=== Build ")

    for step in details["steps"]:
        assert (step["started_at"] is None) is (b"=== Step %d (" % step["order_num"] not in stream)
        assert step["status"] != "running"
        assert step["skipped"] is None or step["status"] == "pending"
        assert (step["started_at"] is None) is (step["finished_at"] is None) or step["status"] == "cancelled"
    if job["status"] == "success":
        assert {step["status"] for step in details["steps"] if step["skipped"] is None} <= {"success"}
    if job["status"] == "cancelled":
        assert "pending" not in {step["status"] for step in details["steps"] if step["skipped"] is None}
    return details


def assert_nothing_left(server: Server) -> None:
    """No container, process or work folder of the server's builds is there any more, sooner or later.

    Containers that are parked, for builds to come, are there while the server runs.
    """
    if (server.data / "installation").exists():
        try:
            wait_for(
                lambda: len(containers_of(server)) == server.parked(), "all containers of builds are gone"
            )
        except AssertionError as error:
            raise AssertionError(
                f"{error}: {server.parked()} are parked, there are {described(server)}"
            ) from None
    wait_for(lambda: processes_of(server.data / "work") == [], "all processes are gone")
    wait_for(lambda: list((server.data / "work").iterdir()) == [], "all work folders are gone")
