"""An engine that is not there, goes away, hangs, or comes back."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import images
from tests.support.consistency import assert_ended_once, assert_nothing_left
from tests.support.engine_proxy import EngineProxy
from tests.support.server import Server, containers_of, wait_for

COUNTING = "i=0; while [ $i -lt {lines} ]; do i=$((i+1)); echo line $i; sleep 0.005; done"


def counted(lines: int) -> str:
    return "".join(f"line {number}\n" for number in range(1, lines + 1))


def test_a_server_starts_without_an_engine_says_so_and_its_jobs_wait(
    proxy: EngineProxy, behind: Callable[..., Server]
) -> None:
    proxy.go_away()
    server = behind().start()
    job_id = server.start_job({"name": "waiting", "steps": ["echo ran"]})
    health = server.get("/health")
    assert health.status == 200
    wait_for(lambda: "Docker engine" in server.get("/health").text, "the health says it")
    ready = server.get("/ready")
    assert (ready.status, ready.json["status"], ready.json["database"]) == (503, "not ready", "ok")
    assert "Docker engine" in ready.json["engine"]
    assert 'rapidflow_ready{part="engine"} 0.0' in server.get("/metrics").text
    assert server.job(job_id)["status"] == "pending"
    wait_for(
        lambda: "Docker engine" in (server.get(f"/jobs/{job_id}/timeline").json[0]["detail"] or ""),
        "the timeline says what the job waits for",
    )
    proxy.come_back()
    details = server.wait_finished(job_id)
    assert details["steps"][0]["output"] == "ran\n"
    assert "Docker engine" not in server.get("/health").text
    assert server.get("/ready").status == 200


def test_keys_of_the_engine_that_are_missing_are_named(
    new_server: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images.ensure(images.BASH)  # while the engine is known
    with monkeypatch.context() as environment:
        environment.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
        environment.setenv("DOCKER_TLS_VERIFY", "1")
        environment.setenv("DOCKER_CERT_PATH", str(tmp_path / "nothing"))
        server = new_server()
    said = server.start().get("/ready").json["engine"]
    assert said.endswith(f"No such file or directory (DOCKER_CERT_PATH is '{tmp_path}/nothing')")


def test_a_pending_job_can_be_cancelled_without_an_engine(
    proxy: EngineProxy, behind: Callable[..., Server]
) -> None:
    proxy.go_away()
    server = behind().start()
    job_id = server.start_job({"name": "waiting", "steps": ["echo never"]})
    assert server.post(f"/jobs/{job_id}/cancel").status == 200
    assert_ended_once(server, job_id)


@pytest.mark.parametrize("seconds", [0, 1])
def test_a_build_goes_on_byte_for_byte_when_the_engine_comes_back(
    proxy: EngineProxy, behind: Callable[..., Server], seconds: float
) -> None:
    server = behind().start()
    steps = [COUNTING.format(lines=300), "echo second", COUNTING.format(lines=50)]
    job_id = server.start_job({"name": "away", "steps": steps})
    follower = server.follow(job_id)
    for line in ("line 20\n", "line 120\n"):
        server.wait_output(job_id, line)
        proxy.go_away()
        time.sleep(seconds)
        proxy.come_back()
    details = server.wait_finished(job_id)
    assert details["job"]["error"] is None
    assert [step["output"] for step in details["steps"]] == [counted(300), "second\n", counted(50)]
    assert follower.wait() == server.get(f"/jobs/{job_id}/logs/stream").body
    assert_ended_once(server, job_id)
    assert_nothing_left(server)


@pytest.mark.parametrize("hangs", [False, True])
def test_an_engine_that_is_away_makes_no_step_silent(
    proxy: EngineProxy, behind: Callable[..., Server], hangs: bool
) -> None:
    server = behind().start()
    printing = "until [ -e /tmp/go ]; do echo line; sleep 0.1; done"
    job_id = server.start_job({"name": "away", "silence_timeout": "2s", "steps": [printing, "echo over"]})
    server.wait_output(job_id, "line\n")
    proxy.freeze() if hangs else proxy.go_away()
    wait_for(
        lambda: "Docker engine" in (server.get(f"/jobs/{job_id}/activity").json["waits_for"] or ""),
        "the build says that it waits for the engine",
    )
    page = server.get(f"/ui/jobs/{job_id}").text
    assert "Docker engine" in page and "It may hang" not in page
    time.sleep(3)
    proxy.thaw() if hangs else proxy.come_back()
    subprocess.run(["docker", "exec", server.job(job_id)["container_id"], "touch", "/tmp/go"], check=True)
    details = server.wait_finished(job_id)
    assert (details["job"]["status"], details["job"]["error"]) == ("success", None)


def test_time_without_an_engine_is_no_silence_of_the_step(
    proxy: EngineProxy, behind: Callable[..., Server]
) -> None:
    server = behind().start()
    job_id = server.start_job({"name": "away", "steps": ["i=0; while sleep 0.1; do echo $((i += 1)); done"]})
    server.wait_output(job_id, "\n5\n")
    before = len(server.stream(job_id))
    away = time.monotonic()
    proxy.go_away()
    time.sleep(5)
    proxy.come_back()
    wait_for(lambda: len(server.stream(job_id)) > before + 100, "the output goes on")
    seconds = time.monotonic() - away
    activity = server.get(f"/jobs/{job_id}/activity").json
    assert 0 < activity["longest_silence_ms"] < min(seconds, 4) * 1000
    assert server.post(f"/jobs/{job_id}/cancel").status == 200


def test_connections_that_break_at_any_moment_of_a_start_fail_no_build(
    proxy: EngineProxy, behind: Callable[..., Server]
) -> None:
    server = behind().start()
    for delay in (0, 0.03, 0.06, 0.1, 0.15, 0.2, 0.3):
        job_id = server.start_job({"name": f"broken after {delay}", "steps": ["echo one", "echo two"]})
        time.sleep(delay)
        proxy.break_connections()
        details = server.wait_finished(job_id)
        assert (delay, details["job"]["error"]) == (delay, None)
        assert [step["output"] for step in details["steps"]] == ["one\n", "two\n"]
        assert_ended_once(server, job_id)
    assert_nothing_left(server)


def test_connection_that_breaks_just_as_the_first_step_begins_costs_nothing(
    proxy: EngineProxy, behind: Callable[..., Server]
) -> None:
    server = behind().start()
    proxy.freeze_after(b"run 1\n")
    job_id = server.start_job({"name": "broken", "steps": ["echo one", "echo two"]})
    wait_for(lambda: proxy.frozen, "the first step is to begin")
    proxy.break_connections()
    proxy.thaw()
    details = server.wait_finished(job_id)
    assert details["job"]["error"] is None
    assert [step["output"] for step in details["steps"]] == ["one\n", "two\n"]
    assert_ended_once(server, job_id)


def test_command_that_is_lost_with_the_connection_is_given_again(
    proxy: EngineProxy, behind: Callable[..., Server]
) -> None:
    server = behind(parked="0").start()
    proxy.lose(b"run 1\n")
    details = server.run({"name": "broken", "steps": ["echo one", "echo two"]})
    assert details["job"]["error"] is None
    assert [step["output"] for step in details["steps"]] == ["one\n", "two\n"]
    assert proxy.before_loss
    assert _containers_made(proxy, before=proxy.before_loss) == _containers_made(proxy)
    assert_ended_once(server, details["job"]["id"])


def test_build_that_is_about_to_begin_when_the_connection_breaks_is_not_ended(
    proxy: EngineProxy, behind: Callable[..., Server]
) -> None:
    server = behind(parked="0").start()
    proxy.freeze_after(b"run 1\n")
    # With so little CPU time, the agent takes a while to begin.
    job_id = server.start_job({"name": "broken", "cpus": 0.02, "steps": ["echo one", "echo two"]})
    wait_for(lambda: proxy.frozen, "all is on its way to the agent")
    made = _containers_made(proxy)
    proxy.break_connections()
    proxy.thaw()
    details = server.wait_finished(job_id)
    assert details["job"]["error"] is None
    assert [step["output"] for step in details["steps"]] == ["one\n", "two\n"]
    assert _containers_made(proxy) == made
    assert_ended_once(server, job_id)


def _containers_made(proxy: EngineProxy, before: int | None = None) -> int:
    """How many there were; of the first, a test that removes their network may have made some useless."""
    return sum(b"/containers/create" in request for request in proxy.requests[:before])


def test_a_build_fails_with_the_true_reason_when_the_engine_is_gone_for_good(
    proxy: EngineProxy, behind: Callable[..., Server]
) -> None:
    server = behind(engine_timeout="2s").start()
    job_id = server.start_job({"name": "gone", "steps": ["echo ready; sleep 1000", "true"]})
    server.wait_output(job_id, "ready\n")
    proxy.go_away()
    details = server.wait_finished(job_id)
    assert details["job"]["error"] == "the Docker engine went away and did not come back in 2s"
    assert [step["status"] for step in details["steps"]] == ["failed", "pending"]
    assert_ended_once(server, job_id)
    # What could not be removed is removed when it is back.
    assert len(containers_of(server)) == 1
    proxy.come_back()
    assert_nothing_left(server)


def test_a_build_that_starts_fails_with_the_reason_when_the_engine_is_gone_for_good(
    proxy: EngineProxy, behind: Callable[..., Server]
) -> None:
    server = behind(engine_timeout="2s").start()
    pipeline_id = server.pipeline({"name": "gone", "steps": ["true"]})
    assert server.wait_finished(server.start_build(pipeline_id))["job"]["status"] == "success"
    # Jobs wait only once the engine is known to be away. This one is to be claimed before that, so it is
    # begun again where the engine was missed in the few milliseconds in between.
    for _ in range(20):
        proxy.go_away()
        job_id = server.start_build(pipeline_id)
        wait_for(
            lambda job_id=job_id: (
                server.job(job_id)["status"] != "pending" or "can't be reached" in server.get("/health").text
            ),
            "the job is claimed, or the engine missed",
        )
        if server.job(job_id)["status"] != "pending":
            break
        proxy.come_back()
        server.wait_finished(job_id)
    details = server.wait_finished(job_id)
    assert details["job"]["error"].startswith("the Docker engine can't be reached: ")
    assert_ended_once(server, job_id)


def test_a_build_can_be_cancelled_while_the_engine_is_away_and_is_stopped_when_it_is_back(
    proxy: EngineProxy, behind: Callable[..., Server]
) -> None:
    server = behind(grace="1s").start()
    step = "trap 'echo cleaned; exit 0' TERM; echo ready; while :; do sleep 0.05; done 2>/dev/null"
    job_id = server.start_job({"name": "away", "steps": [step, "echo never"]})
    server.wait_output(job_id, "ready\n")
    proxy.go_away()
    follower = server.follow(job_id)
    answers: list[int] = []
    cancel = threading.Thread(target=lambda: answers.append(server.post(f"/jobs/{job_id}/cancel").status))
    cancel.start()
    wait_for(lambda: server.job(job_id)["cancelled"], "the cancel is accepted")
    time.sleep(0.5)
    assert server.job(job_id)["status"] == "running"
    proxy.come_back()
    cancel.join(30)
    assert answers == [200]
    details = assert_ended_once(server, job_id)
    assert details["steps"][0]["output"] == "ready\ncleaned\n"
    assert follower.wait().endswith(b"=== Build cancelled ===\n=== Build completed ===\n")
    assert_nothing_left(server)


def test_a_server_that_is_killed_and_starts_before_its_engine_takes_up_its_builds(
    proxy: EngineProxy, behind: Callable[..., Server]
) -> None:
    server = behind().start()
    job_id = server.start_job({"name": "both", "steps": [COUNTING.format(lines=200), "echo second"]})
    server.wait_output(job_id, "line 20\n")
    server.kill()
    proxy.go_away()
    server.start()
    time.sleep(0.5)
    proxy.come_back()
    details = server.wait_finished(job_id)
    assert [step["output"] for step in details["steps"]] == [counted(200), "second\n"]
    assert_ended_once(server, job_id)
    assert_nothing_left(server)


def test_what_a_build_left_in_the_work_folder_is_removed(new_server: Callable[..., Server]) -> None:
    server = new_server().start()
    server.kill()
    left = Path(server.data) / "work" / "77" / "workspace"
    left.mkdir(parents=True)
    server.start()
    assert_nothing_left(server)
