"""Cancelling builds, at whatever moment."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support import images
from tests.support.builds import WAIT, processes_of
from tests.support.consistency import assert_ended_once, assert_nothing_left
from tests.support.registry import Registry
from tests.support.repos import Repo
from tests.support.server import Answer, Server, containers_of, wait_for

CLEANING = f"trap 'echo cleaning; sleep 0.2; echo clean; exit 1' TERM; echo ready; {WAIT}"
DONE = {"message": "job cancelled successfully"}


def cancel(server: Server, job_id: int) -> Answer:
    return server.post(f"/jobs/{job_id}/cancel")


def test_a_running_build_cleans_up_and_its_container_is_gone_when_the_call_answers(server: Server) -> None:
    job_id = server.start_job({"name": "cancel", "steps": ["echo one", CLEANING, "echo never"]})
    server.wait_output(job_id, "ready\n")
    follower = server.follow(job_id)
    container_id = server.job(job_id)["container_id"]
    answer = cancel(server, job_id)
    assert (answer.status, answer.json) == (200, DONE)
    assert container_id not in containers_of(server)
    details = assert_ended_once(server, job_id)
    assert details["job"]["status"] == "cancelled"
    assert [step["status"] for step in details["steps"]] == ["success", "cancelled", "cancelled"]
    assert [step["exit_code"] for step in details["steps"]] == [0, 1, None]
    assert follower.wait().decode() == (
        "=== Step 1 (bash) ===\none\n\n=== Step 2 (bash) ===\nready\ncleaning\nclean\n\n"
        "=== Build cancelled ===\n=== Build completed ===\n"
    )
    assert follower.complete


def test_a_step_that_does_not_listen_is_killed_after_the_grace(server: Server) -> None:
    step = "trap '' TERM; echo ready; while :; do sleep 0.05; done"
    job_id = server.start_job({"name": "deaf", "steps": [step]})
    server.wait_output(job_id, "ready\n")
    assert cancel(server, job_id).json == DONE
    details = assert_ended_once(server, job_id)
    assert [step["status"] for step in details["steps"]] == ["cancelled"]


def test_a_silent_step_is_cancelled(server: Server) -> None:
    job_id = server.start_job({"name": "silent", "steps": ["sleep 3600", "true"]})
    server.wait_output(job_id, "=== Step 1")
    assert cancel(server, job_id).json == DONE
    details = assert_ended_once(server, job_id)
    assert [step["status"] for step in details["steps"]] == ["cancelled", "cancelled"]


def test_a_build_that_floods_its_output_is_cancelled(server: Server) -> None:
    job_id = server.start_job({"name": "flood", "steps": ["while :; do echo flood; done"]})
    server.wait_output(job_id, "flood\n" * 100)
    assert cancel(server, job_id).json == DONE
    assert_ended_once(server, job_id)


def test_a_pending_build_never_starts(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process", concurrency="1", grace="0").start()
    first = server.start_job({"name": "first", "steps": ["echo ready; sleep 1000"]})
    second = server.start_job({"name": "second", "steps": ["echo never", "echo never"]})
    server.wait_output(first, "ready")
    assert cancel(server, second).json == DONE
    details = assert_ended_once(server, second)
    assert details["job"]["started_at"] is None
    assert [step["status"] for step in details["steps"]] == ["cancelled", "cancelled"]
    assert server.stream(second) == "=== Build cancelled ===\n=== Build completed ===\n"
    assert cancel(server, first).json == DONE
    assert_nothing_left(server)


def test_a_finished_build_can_not_be_cancelled(process_server: Server) -> None:
    details = process_server.run({"name": "finished", "steps": ["true"]})
    answer = cancel(process_server, details["job"]["id"])
    assert answer.status == 400
    assert "already finished" in answer.json["error"]
    assert process_server.job(details["job"]["id"])["cancelled"] is False
    assert cancel(process_server, 10**9).status == 404


def test_a_build_is_cancelled_while_its_image_is_pulled(new_server: Callable[..., Server]) -> None:
    registry = Registry()
    registry.flows.clear()
    try:
        server = new_server().start()
        job_id = server.start_job({"name": "pulling", "image": registry.image, "steps": ["echo never"]})
        wait_for(registry.pulls, "the image is being pulled")
        assert any(
            phase["name"] == "image" and phase["finished_at"] is None
            for phase in server.get(f"/jobs/{job_id}/timeline").json
        )
        assert cancel(server, job_id).json == DONE
        assert assert_ended_once(server, job_id)["steps"][0]["status"] == "cancelled"
        assert_nothing_left(server)
    finally:
        registry.close()


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_build_is_cancelled_while_its_source_is_fetched(
    new_server: Callable[..., Server], silent_port: int
) -> None:
    server = new_server().start()
    url = f"git://127.0.0.1:{silent_port}/app.git"
    image = images.ensure(images.BASH)
    job_id = server.start_job({"name": "fetching", "image": image, "repo_name": url, "steps": ["echo never"]})
    wait_for(lambda: containers_of(server), "the container is prepared meanwhile")
    wait_for(lambda: processes_of(server.data, [url]), "git is at work")
    assert cancel(server, job_id).json == DONE
    assert_ended_once(server, job_id)
    assert_nothing_left(server)
    assert [line for line in processes_of(server.data, [url]) if " git" in line] == []


@pytest.mark.parametrize("delay", [0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4])
def test_a_build_is_cancelled_at_any_moment_of_its_start(server: Server, repo: Repo, delay: float) -> None:
    repo.commit({f"file{number}": "x" * 1000 for number in range(50)})
    steps = ["echo one; sleep 0.05", "echo two; sleep 1000"]
    job_id = server.start_job({"name": "starting", "repo_name": repo.url, "steps": steps})
    time.sleep(delay)
    assert cancel(server, job_id).json == DONE
    assert assert_ended_once(server, job_id)["job"]["status"] == "cancelled"
    wait_for(lambda: server.data / "work" / str(job_id) not in (server.data / "work").iterdir(), "it is gone")


def test_a_second_cancel_waits_for_the_end_and_answers_the_same(server: Server) -> None:
    job_id = server.start_job({"name": "twice", "steps": [CLEANING]})
    server.wait_output(job_id, "ready\n")
    container_id = server.job(job_id)["container_id"]
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(cancel, server, job_id)
        wait_for(lambda: server.job(job_id)["cancelled"], "the cancel was accepted")
        assert server.job(job_id)["status"] == "running"
        others = [pool.submit(cancel, server, job_id) for _ in range(2)]
        answers = [future.result() for future in (first, *others)]
    assert [(answer.status, answer.json) for answer in answers] == [(200, DONE)] * 3
    assert container_id not in containers_of(server)
    assert cancel(server, job_id).status == 400
    assert_ended_once(server, job_id)


def test_cancels_and_ends_that_race_leave_one_final_state(server: Server) -> None:
    """Whoever is first wins, and everything says the same afterwards."""
    pipeline_id = server.pipeline({"name": "race", "steps": ["echo one", "sleep 0.1"]})

    def one(number: int) -> tuple[int, list[int]]:
        job_id = server.start_build(pipeline_id)
        server.wait_output(job_id, "=== Step 2")
        time.sleep(0.05 + 0.008 * number)
        with ThreadPoolExecutor(3) as pool:
            answers = list(pool.map(lambda _: cancel(server, job_id).status, range(3)))
        return job_id, answers

    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(one, range(12)))
    for job_id, answers in results:
        details = server.wait_finished(job_id)
        assert_ended_once(server, job_id)
        assert (details["job"]["status"] == "cancelled") is (200 in answers)
        assert set(answers) <= {200, 400}


def test_a_client_that_goes_away_during_its_cancel_does_not_stop_it(process_server: Server) -> None:
    job_id = process_server.start_job({"name": "gone", "steps": [CLEANING]})
    process_server.wait_output(job_id, "ready\n")
    with socket.create_connection(("127.0.0.1", process_server.port)) as connection:
        connection.sendall(
            f"POST /jobs/{job_id}/cancel HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".encode()
        )
        wait_for(lambda: process_server.job(job_id)["cancelled"], "the cancel was accepted")
    assert process_server.wait_finished(job_id)["job"]["status"] == "cancelled"
    assert_ended_once(process_server, job_id)
