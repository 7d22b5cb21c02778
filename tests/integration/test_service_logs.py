"""The logs of services: exact over restarts, masked, bounded, readable, and removed with the build."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.support import images
from tests.support.consistency import assert_nothing_left
from tests.support.engine_proxy import EngineProxy
from tests.support.resuming import ResumingFollower
from tests.support.server import Server, wait_for

GO = "until [ -e /go ]; do sleep 0.02; done"
_LINES = 400
COUNT = f"i=0; while [ $i -lt {_LINES} ]; do i=$((i+1)); echo line $i; usleep 5000; done; exec sleep 1000"
COUNTED = "".join(f"line {number}\n" for number in range(1, _LINES + 1))


@pytest.fixture
def server(new_server: Callable[..., Server]) -> Server:
    """A running server of the test's own."""
    return new_server().start()


def config(step: str, command: str, **more: Any) -> dict[str, Any]:
    db = {"image": images.ensure(images.BUSYBOX), "command": command}
    return {"name": "logged", "steps": [step], "services": {"db": db}, **more}


def log_of(server: Server, job_id: int, query: str = "") -> str:
    answer = server.get(f"/jobs/{job_id}/services/db/logs{query}")
    assert answer.status == 200, answer.text
    return answer.text


def go_on(server: Server, job_id: int) -> None:
    container_id = server.job(job_id)["container_id"]
    subprocess.run(["docker", "exec", container_id, "touch", "/go"], check=True)


def test_a_log_is_exact_for_followers_of_servers_that_are_killed(server: Server) -> None:
    job_id = server.start_job(config(GO, COUNT))
    follower = ResumingFollower(server, job_id, "services/db/logs")
    for line in (0, 30, 120, 300):
        wait_for(lambda line=line: f"line {line}\n" in "line 0\n" + log_of(server, job_id), f"line {line}")
        server.kill()
        time.sleep(0.1)
        server.start()
    wait_for(lambda: f"line {_LINES}\n" in log_of(server, job_id), "the last line")
    go_on(server, job_id)
    assert server.wait_finished(job_id)["job"]["error"] is None
    assert log_of(server, job_id) == COUNTED
    assert follower.wait().decode() == COUNTED
    assert follower.connections > 1
    assert_nothing_left(server)


def test_a_service_that_dies_without_a_server_fails_the_build_that_is_taken_up(server: Server) -> None:
    job_id = server.start_job(config(GO, "until [ -e /die ]; do usleep 20000; done; echo dying; exit 4"))
    server.wait_output(job_id, "=== Step 1")
    services = [
        "docker",
        "ps",
        "--quiet",
        f"--filter=label=rapidflow.beside={server.job(job_id)['container_id']}",
    ]
    server.kill()
    found = subprocess.run(services, capture_output=True, text=True, check=True).stdout.split()
    subprocess.run(["docker", "exec", *found, "touch", "/die"], check=True)
    subprocess.run(["docker", "wait", *found], check=True, capture_output=True)
    server.start()
    assert server.wait_finished(job_id)["job"]["error"] == "the service db ended with 4 while the build ran"
    assert log_of(server, job_id) == "dying\n"
    assert_nothing_left(server)


@pytest.mark.parametrize("delay", [0.1, 0.3, 0.6, 1.0])
def test_a_server_killed_while_services_start_builds_anew(server: Server, delay: float) -> None:
    job_id = server.start_job(config("true", "echo begun; sleep 1; touch /up; exec sleep 1000"))
    time.sleep(delay)
    server.kill()
    server.start()
    assert server.wait_finished(job_id)["job"]["error"] is None
    assert log_of(server, job_id) == "begun\n"
    assert_nothing_left(server)


def test_secrets_are_masked_also_those_that_a_step_adds(server: Server) -> None:
    stored = server.request(
        "PUT", "/secrets/TOKEN", json.dumps({"value": "hunter2-token"}), {"Content-Type": "application/json"}
    )
    assert stored.status == 200, stored.text
    command = "printf 'a hunter2-'; sleep 0.1; echo token; sleep 2; echo added-value; exec sleep 1000"
    job_id = server.start_job(config(f"echo ::add-mask::added-value; {GO}", command, secrets=["TOKEN"]))
    wait_for(lambda: log_of(server, job_id).count("\n") == 2, "both lines are there")
    go_on(server, job_id)
    server.wait_finished(job_id)
    assert log_of(server, job_id) == "a ***\n***\n"


def test_only_the_end_is_kept_of_more_than_a_log_may_have(server: Server) -> None:
    job_id = server.start_job(config(GO, "seq 50000; echo end; exec sleep 1000", log_limit="64k"))
    wait_for(
        lambda: "line" not in log_of(server, job_id) and len(log_of(server, job_id)) > 30_000, "it prints"
    )
    time.sleep(2)
    go_on(server, job_id)
    assert server.wait_finished(job_id)["job"]["error"] is None
    text = log_of(server, job_id)
    assert text.startswith("1\n2\n") and text.endswith("\n50000\nend\n")
    assert "bytes are left out: the log may have at most 64k" in text
    assert len(text) < 130_000


def test_a_log_has_what_was_printed_just_before_the_end(server: Server) -> None:
    details = server.run(printing_before_the_end("seq 12000"))
    assert details["job"]["error"] is None
    assert log_of(server, details["job"]["id"]) == "".join(f"{number}\n" for number in range(1, 12001))


def test_a_log_has_what_a_busy_engine_gives_late(proxy: EngineProxy, behind: Callable[..., Server]) -> None:
    pipeline = printing_before_the_end("echo early; echo at-la''st")
    proxy.delay(b"at-last", 1.5)
    server = behind().start()
    details = server.run(pipeline)
    assert details["job"]["error"] is None
    assert log_of(server, details["job"]["id"]) == "early\nat-last\n"
    assert_nothing_left(server)


def test_a_log_that_a_server_can_not_read_to_its_end_is_read_by_the_next(
    proxy: EngineProxy, behind: Callable[..., Server]
) -> None:
    pipeline = printing_before_the_end("echo early; echo at-la''st")
    proxy.delay(b"at-last", 4)
    server = behind().start()
    job_id = server.start_job(pipeline)
    wait_for(lambda: any(b"/kill" in request for request in proxy.requests), "the service is killed")
    assert server.stop() < 3
    server.start()
    details = server.wait_finished(job_id)
    assert (details["job"]["status"], details["job"]["error"]) == ("success", None)
    assert log_of(server, job_id) == "early\nat-last\n"
    assert_nothing_left(server)


def test_an_engine_that_hangs_delays_no_end_for_long(
    proxy: EngineProxy, behind: Callable[..., Server]
) -> None:
    pipeline = printing_before_the_end("true")
    proxy.freeze_after(b"/kill")
    server = behind().start()
    details = server.run(pipeline, seconds=30)
    assert (details["job"]["status"], details["job"]["error"]) == ("success", None)
    proxy.thaw()
    assert_nothing_left(server)


def printing_before_the_end(command: str) -> dict[str, Any]:
    """A pipeline whose service runs a command that ends just before the last step does."""
    db = f"nc -l -p 5432 -e true; {command}; nc -l -p 5433 -e true; exec sleep 1000"
    pipeline = config("nc db 5432 </dev/null; until nc db 5433 </dev/null; do sleep 0.01; done", db)
    pipeline["services"]["db"]["ports"] = [5432]
    return pipeline


def test_a_service_that_floods_its_log_fails_the_build(server: Server) -> None:
    job_id = server.start_job(config("sleep 1000", "yes flood", log_limit="64k"))
    assert (
        server.wait_finished(job_id)["job"]["error"] == "the service db printed over 640k while the build ran"
    )
    assert_nothing_left(server)


def test_a_log_is_read_in_parts_and_unknown_names_are_refused(server: Server) -> None:
    job_id = server.start_job(config("sleep 0.5", "echo abcdef; exec sleep 1000"))
    server.wait_finished(job_id)
    assert log_of(server, job_id, "?offset=2") == "cdef\n"
    path = f"/jobs/{job_id}/services/db/logs"
    part = server.request("GET", path, headers={"Range": "bytes=1-2"})
    assert (part.status, part.text) == (206, "bc")
    assert server.get(f"{path}?offset=100").status == 416
    unknown = server.get(f"/jobs/{job_id}/services/cache/logs")
    assert (unknown.status, unknown.text) == (404, f"job {job_id} has no service 'cache'\n")
    assert server.get("/jobs/999/services/db/logs").status == 404
    page = server.get(f"/ui/jobs/{job_id}").text
    assert f'href="{path}"' in page


def test_followers_of_a_service_that_never_starts_end_with_the_build(server: Server) -> None:
    job_id = server.start_job(config("true", "true", image="127.0.0.1:1/nothing:1"))
    follower = ResumingFollower(server, job_id, "services/db/logs")
    assert server.wait_finished(job_id)["job"]["status"] == "failed"
    assert follower.wait() == b""


def test_logs_go_with_their_build_and_are_backed_up(new_server: Callable[..., Server], tmp_path: Any) -> None:
    server = new_server(keep_builds="1").start()
    ids = [server.start_job(config("sleep 0.5", "seq 3000; exec sleep 1000"))]
    server.wait_finished(ids[0])
    ids.append(server.start_build(server.job(ids[0])["pipeline_id"]))
    server.wait_finished(ids[1])
    logs = server.data / "logs" / "0000"
    assert sorted(path.name for path in logs.glob("*.services")) == [f"{job}.services" for job in ids]
    target = tmp_path / "backup.tar"
    assert server.command("backup", str(target)).returncode == 0
    assert server.post("/prune").status == 200
    assert [path.name for path in logs.glob("*.services")] == [f"{ids[1]}.services"]
    restored = new_server("restored")
    assert restored.command("restore", str(target)).returncode == 0
    restored.start()
    assert log_of(restored, ids[0]) == log_of(server, ids[1]) == "".join(f"{n}\n" for n in range(1, 3001))
