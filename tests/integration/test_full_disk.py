"""A data folder on a full disk: builds wait, and go on when there is room."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.builds import copy_of, engine, inspect, stands_still
from tests.support.consistency import assert_ended_once, assert_nothing_left
from tests.support.machine import only_root, small_disk
from tests.support.repos import Repo
from tests.support.server import Server, wait_for

pytestmark = only_root

_SIZE = "48m"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk, mounted where `new_server("disk/data")` keeps its data."""
    folder = tmp_path / "disk"
    with small_disk(folder, _SIZE):
        yield folder


@pytest.fixture
def server(disk: Path, new_server: Callable[..., Server]) -> Iterator[Server]:
    made = new_server("disk/data", grace="1s").start()
    yield made
    made.stop()


def fill(disk: Path) -> Path:
    """A file that takes all the room there is."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1024 * 1024, 4096, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue
    return ballast


def test_a_build_waits_for_room_and_goes_on_without_losing_a_byte(disk: Path, server: Server) -> None:
    step = "echo ready; until [ -e /go ]; do sleep 0.01; done; seq 2000000"
    job_id = server.start_job({"name": "full", "steps": [step, "echo second"]})
    server.wait_output(job_id, "ready\n")
    container_id = server.job(job_id)["container_id"]
    copy = copy_of(container_id)
    ballast = fill(disk)
    engine("exec", container_id, "touch", "/go")
    wait_for(lambda: copy.stat().st_size > 100_000, "it prints")
    wait_for(stands_still(copy), "it waits")
    assert b"exit 1 0" not in copy.read_bytes()[-1000:]
    assert server.job(job_id)["status"] == "running"
    ready = server.get("/ready")
    assert ready.status == 503
    assert ready.json["disk"] == "the log can't be written: No space left on device"
    ballast.unlink()
    details = server.wait_finished(job_id)
    assert details["job"]["error"] is None
    numbers = "".join(f"{number}\n" for number in range(1, 2000001))
    assert [step["output"] for step in details["steps"]] == [f"ready\n{numbers}", "second\n"]
    assert_ended_once(server, job_id)
    assert_nothing_left(server)


def test_a_build_that_ends_on_a_full_disk_ends_as_it_did_when_there_is_room(
    disk: Path, server: Server
) -> None:
    step = "echo ready; until [ -e /go ]; do sleep 0.01; done; exit 5"
    job_id = server.start_job({"name": "full", "steps": [step, "true"]})
    server.wait_output(job_id, "ready\n")
    container_id = server.job(job_id)["container_id"]
    ballast = fill(disk)
    engine("exec", container_id, "touch", "/go")
    wait_for(
        lambda: "can't be written" in server.log.read_text() or "stuck" in server.get("/health").text,
        "it waits",
    )
    assert server.job(job_id)["status"] == "running"
    ballast.unlink()
    details = server.wait_finished(job_id)
    assert details["job"]["error"] == "step 1 (bash) exited with 5"
    assert_ended_once(server, job_id)
    assert_nothing_left(server)


def test_running_build_can_be_cancelled_on_a_full_disk(disk: Path, server: Server) -> None:
    step = "trap 'echo cleaned up; exit 0' TERM; echo ready; while :; do sleep 0.1; done"
    job_id = server.start_job({"name": "full", "steps": [step, "true"]})
    server.wait_output(job_id, "ready\n")
    container_id = server.job(job_id)["container_id"]
    ballast = fill(disk)
    for _ in range(2):
        answer = server.post(f"/jobs/{job_id}/cancel")
        assert (answer.status, answer.json) == (200, {"message": "job cancelled successfully"})
        assert container_id not in engine("ps", "--quiet", "--no-trunc")
    ballast.unlink()
    details = server.wait_finished(job_id)
    assert (details["job"]["status"], details["job"]["cancelled"]) == ("cancelled", True)
    assert details["steps"][0]["output"].endswith("cleaned up\n")
    assert_ended_once(server, job_id)
    assert_nothing_left(server)


def test_jobs_are_run_after_the_disk_was_full(disk: Path, server: Server) -> None:
    pipeline_id = server.pipeline({"name": "after", "steps": ["echo ran"]})
    ballast = fill(disk)
    refused = server.post(f"/pipelines/{pipeline_id}/jobs")
    assert refused.status == 500
    assert refused.json["error"].startswith("the database can't be used now (")
    wait_for(lambda: "is full: 0 MiB are free" in server.get("/").text, "the dashboard says it")
    ballast.unlink()
    wait_for(lambda: "is full" not in server.get("/").text, "the dashboard takes it back")
    assert server.wait_finished(server.start_build(pipeline_id))["job"]["status"] == "success"


def test_a_build_whose_source_does_not_fit_waits_for_room(
    disk: Path, new_server: Callable[..., Server], repo: Repo
) -> None:
    repo.commit({f"file{number}": os.urandom(1_000_000) for number in range(8)})
    server = new_server("disk/data").start()
    pipeline_id = server.pipeline({"name": "source", "repo_name": repo.url, "steps": ["ls | wc -l"]})
    ballast = fill(disk)
    # Enough for the database, and not for what is to be built.
    os.truncate(ballast, ballast.stat().st_size - 700_000)
    job_id = server.start_build(pipeline_id)
    wait_for(lambda: "is full" in server.get(f"/jobs/{job_id}/timeline").text, "it waits")
    ballast.unlink()
    assert server.wait_finished(job_id)["steps"][0]["output"] == "8\n"
    assert_ended_once(server, job_id)
    assert_nothing_left(server)
    server.stop()


def test_a_build_on_a_full_disk_can_be_stopped_and_says_so_when_there_is_room(
    disk: Path, server: Server
) -> None:
    step = "echo ready; until [ -e /go ]; do sleep 0.01; done; seq 1000000000"
    job_id = server.start_job({"name": "full", "timeout": "4s", "steps": [step]})
    server.wait_output(job_id, "ready\n")
    container_id = server.job(job_id)["container_id"]
    ballast = fill(disk)
    engine("exec", container_id, "touch", "/go")

    # An engine that waits for its output to be read would not stop it, nor answer this.
    wait_for(lambda: inspect(container_id, "{{.State.Running}}") == "false", "the container is stopped", 40)
    ballast.unlink()
    details = server.wait_finished(job_id)
    assert details["job"]["status"] == "failed"
    assert details["job"]["error"] == "the build timed out after 4s"
    assert_ended_once(server, job_id)
    assert_nothing_left(server)


def test_a_server_on_a_full_disk_ends_and_the_next_one_goes_on(disk: Path, server: Server) -> None:
    step = "echo ready; until [ -e /go ]; do sleep 0.01; done; seq 2000000"
    job_id = server.start_job({"name": "full", "steps": [step]})
    server.wait_output(job_id, "ready\n")
    container_id = server.job(job_id)["container_id"]
    copy = copy_of(container_id)
    ballast = fill(disk)
    engine("exec", container_id, "touch", "/go")
    wait_for(lambda: copy.stat().st_size > 100_000, "it prints")
    wait_for(stands_still(copy), "it waits")
    assert b"exit 1 0" not in copy.read_bytes()[-1000:]
    assert server.stop() < 10
    ballast.unlink()
    server.start()
    details = server.wait_finished(job_id)
    assert details["steps"][0]["output"] == "ready\n" + "".join(f"{n}\n" for n in range(1, 2000001))
    assert_ended_once(server, job_id)
    assert_nothing_left(server)
