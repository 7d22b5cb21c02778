"""kill -9 of the server at any moment of a build: the next server ends it as if nothing had happened."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from typing import Any

import pytest

from tests.support import images
from tests.support.builds import WAIT, engine, processes_of
from tests.support.consistency import assert_ended_once, assert_nothing_left, stored
from tests.support.repos import Repo
from tests.support.resuming import ResumingFollower
from tests.support.server import Server, wait_for

_LINES = 60
COUNT = f"i=0; while [ $i -lt {_LINES} ]; do i=$((i+1)); echo line $i; sleep 0.005; done"
COUNTED = "".join(f"line {number}\n" for number in range(1, _LINES + 1))


def pipeline(repo: Repo) -> dict[str, Any]:
    """Three steps, of which each must run once, on a source that takes a moment to deliver."""
    repo.commit({f"data/{number}": bytes([number]) * 200_000 for number in range(20)})
    return {
        "name": "killed",
        "repo_name": repo.url,
        "image": images.ensure(images.BASH),
        "steps": [
            f"echo first >>/ran; {COUNT}",
            f"echo second >>/ran; {COUNT}",
            "cat /ran; ls data | wc -l; printf end",
        ],
    }


def expected(server: Server, job_id: int) -> str:
    return (
        f"=== Step 1 (bash) ===\n{COUNTED}\n=== Step 2 (bash) ===\n{COUNTED}\n"
        "=== Step 3 (bash) ===\nfirst\nsecond\n20\nend\n\n=== Build completed ===\n"
    )


def assert_ran_once(server: Server, job_id: int) -> None:
    details = server.wait_finished(job_id)
    assert (details["job"]["status"], details["job"]["error"]) == ("success", None)
    assert server.stream(job_id) == expected(server, job_id)
    assert [step["exit_code"] for step in details["steps"]] == [0, 0, 0]
    assert_ended_once(server, job_id)


@pytest.mark.parametrize(
    ("text", "delay"), [("", 0.0), ("", 0.12), ("", 0.3), ("=== Step 1", 0.0), ("line 30\n", 0.0)]
)
def test_builds_survive_a_server_that_is_killed_at_any_moment(
    new_server: Callable[..., Server], repo: Repo, text: str, delay: float
) -> None:
    server = new_server().start()
    pipeline_id = server.pipeline(pipeline(repo))
    # Three builds, one after the other, are at three different points of their lives.
    ids: list[int] = []
    for _ in range(3):
        ids.append(server.start_build(pipeline_id))
        time.sleep(0.15)
    followers = [ResumingFollower(server, job_id) for job_id in ids]
    server.wait_output(ids[0], text)
    time.sleep(delay)
    server.kill()
    server.start()
    for job_id, follower in zip(ids, followers, strict=True):
        assert_ran_once(server, job_id)
        assert follower.wait().decode() == expected(server, job_id)
    assert_nothing_left(server)


def test_a_build_survives_a_server_that_is_killed_again_and_again(
    new_server: Callable[..., Server], repo: Repo
) -> None:
    server = new_server().start()
    job_id = server.start_build(server.pipeline(pipeline(repo)))
    follower = ResumingFollower(server, job_id)
    for text in ("", "line 5\n", "line 50\n", "=== Step 2", "=== Step 3"):
        server.wait_output(job_id, text)
        server.kill()
        server.start()
    assert_ran_once(server, job_id)
    assert follower.wait().decode() == expected(server, job_id)
    assert_nothing_left(server)


@pytest.mark.parametrize("delay", [0.0, 0.01, 0.03])
def test_a_build_whose_server_is_killed_at_its_end_ends_as_it_did(
    new_server: Callable[..., Server], delay: float
) -> None:
    server = new_server().start()
    good = server.start_job(
        {"name": "good", "steps": ["echo one", "until [ -e /go ]; do sleep 0.01; done; echo end"]}
    )
    bad = server.start_job(
        {"name": "bad", "steps": ["until [ -e /go ]; do sleep 0.01; done; echo end; exit 3", "true"]}
    )
    server.wait_output(good, "=== Step 2")
    server.wait_output(bad, "=== Step 1")
    for job_id in (good, bad):
        engine("exec", server.job(job_id)["container_id"], "touch", "/go")
    server.wait_output(bad, "end\n")
    time.sleep(delay)
    server.kill()
    server.start()
    assert server.wait_finished(good)["job"]["status"] == "success"
    details = server.wait_finished(bad)
    assert details["job"]["error"] == "step 1 (bash) exited with 3"
    assert [step["status"] for step in details["steps"]] == ["failed", "pending"]
    assert_ended_once(server, good)
    assert_ended_once(server, bad)
    assert_nothing_left(server)


def test_a_build_that_ends_while_there_is_no_server_ends_as_it_did(new_server: Callable[..., Server]) -> None:
    server = new_server().start()
    begun = time.monotonic()
    job_id = server.start_job(
        {"name": "alone", "timeout": "10s", "steps": [f"echo begin; {COUNT}; seq 100000; exit 4"]}
    )
    server.wait_output(job_id, "begin\n")
    container_id = server.job(job_id)["container_id"]
    server.kill()
    wait_for(
        lambda: "exit 1 4" in engine("exec", container_id, "tail", "-n", "1", "/rapidflow/log"), "it ends"
    )
    time.sleep(max(0.0, begun + 11 - time.monotonic()))
    server.start()
    details = server.wait_finished(job_id)
    # It ended in time, though nobody heard it then.
    assert details["job"]["error"] == "step 1 (bash) exited with 4"
    numbers = "".join(f"{number}\n" for number in range(1, 100001))
    assert details["steps"][0]["output"] == f"begin\n{COUNTED}{numbers}"
    assert_ended_once(server, job_id)
    assert_nothing_left(server)


def test_a_build_whose_container_is_paused_while_the_server_is_killed_goes_on_when_that_does(
    new_server: Callable[..., Server],
) -> None:
    server = new_server().start()
    waits = "echo ready; until [ -e /tmp/go ]; do sleep 0.1; done; echo more"
    pipeline_id = server.pipeline({"name": "paused", "steps": [waits, "echo end"]})
    goes_on, cancelled = (server.start_build(pipeline_id) for _ in range(2))
    for job_id in (goes_on, cancelled):
        server.wait_output(job_id, "ready\n")
        engine("pause", server.job(job_id)["container_id"])
    server.kill()
    server.start()
    assert server.post(f"/jobs/{cancelled}/cancel").status == 200
    assert server.job(goes_on)["status"] == "running"
    engine("unpause", server.job(goes_on)["container_id"])
    engine("exec", server.job(goes_on)["container_id"], "touch", "/tmp/go")
    details = server.wait_finished(goes_on)
    assert [step["output"] for step in details["steps"]] == ["ready\nmore\n", "end\n"]
    # Its duration counts from when it began, not from when the second server took it up.
    durations = stored(server, "SELECT finished_at - started_at FROM step WHERE job_id = ?", goes_on)
    measured = re.search(r'step_seconds_sum{result="success"} (\S+)', server.get("/metrics").text)
    assert measured is not None
    assert float(measured[1]) * 1000 == pytest.approx(sum(row[0] for row in durations), rel=0.2)
    for job_id in (goes_on, cancelled):
        assert_ended_once(server, job_id)
    assert_nothing_left(server)


def test_a_build_whose_container_vanished_with_the_server_fails_and_says_so(
    new_server: Callable[..., Server],
) -> None:
    server = new_server().start()
    job_id = server.start_job({"name": "vanished", "steps": ["echo begin; sleep 0.2; echo more; sleep 1000"]})
    server.wait_output(job_id, "more\n")
    container_id = server.job(job_id)["container_id"]
    server.kill()
    engine("rm", "--force", container_id)
    server.start()
    details = server.wait_finished(job_id)
    assert details["job"]["error"] == "the container of the build was gone when the server started again"
    assert details["steps"][0]["output"].startswith("begin\n")
    assert_ended_once(server, job_id)


def test_a_git_of_a_server_that_was_killed_ends_when_the_next_one_starts(
    new_server: Callable[..., Server],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"git://127.0.0.1:{silent.getsockname()[1]}/app.git"
        server = new_server().start()
        others = new_server("others").start()
        config = {
            "name": "fetching",
            "image": images.ensure(images.BASH),
            "repo_name": url,
            "steps": ["true"],
        }
        for one in (server, others):
            one.start_job(config)
            wait_for(lambda one=one: is_fetching(one), "it fetches")
        left, theirs = gits(server), gits(others)
        server.kill()
        assert gits(server) == left
        server.start()
        wait_for(lambda: gits(server) and gits(server) != left, "the next server fetches instead")
        assert not set(gits(server)) & set(left)
        assert gits(others) == theirs


def is_fetching(server: Server) -> bool:
    """Whether its git has begun: while it does, it is seen and then not for a moment."""
    found = gits(server)
    time.sleep(0.3)
    return bool(found) and gits(server) == found


def gits(server: Server) -> list[str]:
    """What a server runs to find out what it has to fetch."""
    return [line for line in processes_of(server.data / "mirrors") if " git ls-remote " in f" {line}"]


def test_a_cancel_that_a_server_was_killed_over_is_done_by_the_next(
    new_server: Callable[..., Server],
) -> None:
    server = new_server(grace="30s").start()
    step = f"trap 'echo cleaning; sleep 1; echo clean; exit 0' TERM; echo ready; {WAIT}"
    job_id = server.start_job({"name": "cancelled", "steps": [step, "true"]})
    server.wait_output(job_id, "ready\n")
    with ThreadPoolExecutor(1) as pool:
        cancel = pool.submit(server.post, f"/jobs/{job_id}/cancel")
        server.wait_output(job_id, "cleaning\n")
        server.kill()
        with pytest.raises((OSError, HTTPException)):
            cancel.result()
    server.start()
    details = server.wait_finished(job_id)
    assert details["job"]["status"] == "cancelled"
    # It is told again by the next server, which can't know that it was told already.
    assert details["steps"][0]["output"].startswith("ready\ncleaning\n")
    assert details["steps"][0]["output"].endswith("cleaning\nclean\n")
    assert_ended_once(server, job_id)
    assert_nothing_left(server)


def test_a_timeout_that_a_server_was_killed_over_keeps_its_reason(new_server: Callable[..., Server]) -> None:
    server = new_server(grace="30s").start()
    step = f"trap 'echo cleaning; sleep 1; exit 9' TERM; echo ready; {WAIT}"
    job_id = server.start_job({"name": "slow", "timeout": "3s", "steps": [step]})
    server.wait_output(job_id, "cleaning\n")
    server.kill()
    server.start()
    details = server.wait_finished(job_id)
    assert details["job"]["error"] == "the build timed out after 3s"
    assert_ended_once(server, job_id)
    assert_nothing_left(server)


def test_jobs_that_waited_when_the_server_was_killed_run_in_their_order(
    new_server: Callable[..., Server],
) -> None:
    server = new_server(concurrency="1").start()
    first = server.start_job({"name": "first", "steps": ["echo begin; sleep 0.5"]})
    others = [server.start_job({"name": "other", "steps": ["echo ran"]}) for _ in range(3)]
    server.wait_output(first, "begin\n")
    server.kill()
    server.start()
    for job_id in (first, *others):
        assert server.wait_finished(job_id)["job"]["status"] == "success"
    started = [server.job(job_id)["started_at"] for job_id in (first, *others)]
    assert started == sorted(started)
    assert_nothing_left(server)


@pytest.mark.parametrize(
    ("text", "delay"), [("broken\n", 0.0), ("broken\n", 0.05), ("line 20\n", 0.0), ("clean\n", 0.0)]
)
def test_steps_after_a_failure_survive_a_server_that_is_killed(
    new_server: Callable[..., Server], text: str, delay: float
) -> None:
    server = new_server().start()
    config = {
        "name": "killed",
        "image": images.ensure(images.BASH),
        "steps": [
            {"content": "echo tag", "when": {"event": "tag"}},
            {"content": "echo early", "when": {"status": "failure"}},
            "echo broken; exit 3",
            "echo never",
            {"content": f"echo once >>/ran; {COUNT}; exit 4", "when": {"status": "always"}},
            {"content": "echo clean; cat /ran; sleep 0.3", "when": {"status": "failure"}},
        ],
    }
    job_id = server.start_job(config)
    server.wait_output(job_id, text)
    time.sleep(delay)
    server.kill()
    server.start()
    details = server.wait_finished(job_id)
    assert (details["job"]["status"], details["job"]["error"]) == ("failed", "step 3 (bash) exited with 3")
    assert server.stream(job_id) == (
        f"=== Step 3 (bash) ===\nbroken\n\n=== Step 5 (bash) ===\n{COUNTED}\n"
        "=== Step 6 (bash) ===\nclean\nonce\n\n"
        "=== Build failed: step 3 (bash) exited with 3 ===\n=== Build completed ===\n"
    )
    assert [step["exit_code"] for step in details["steps"]] == [None, None, 3, None, 4, 0]
    assert [step["skipped"] is None for step in details["steps"]] == [False, False, True, True, True, True]
    assert_ended_once(server, job_id)


def test_container_that_is_lost_during_a_step_after_a_failure_leaves_the_first_failure_as_the_reason(
    new_server: Callable[..., Server],
) -> None:
    server = new_server().start()
    last = {"content": "echo up; sleep 60", "when": {"status": "always"}}
    job_id = server.start_job(
        {"name": "lost", "image": images.ensure(images.BASH), "steps": ["exit 3", last]}
    )
    server.wait_output(job_id, "up\n")
    container_id = server.job(job_id)["container_id"]
    server.kill()
    engine("rm", "--force", container_id)
    server.start()
    details = server.wait_finished(job_id)
    assert details["job"]["error"] == "step 1 (bash) exited with 3"
    assert [step["status"] for step in details["steps"]] == ["failed", "failed"]
    assert_ended_once(server, job_id)
