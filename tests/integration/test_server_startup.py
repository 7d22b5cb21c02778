"""How a server starts, refuses to start, and ends."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support import fork_server
from tests.support.builds import WAIT
from tests.support.consistency import assert_ended_once, assert_nothing_left
from tests.support.descriptors import descriptors
from tests.support.registry import Registry
from tests.support.resuming import ResumingFollower
from tests.support.server import Server, containers_of, wait_for

COUNT = "i=0; while [ $i -lt {lines} ]; do i=$((i+1)); echo line $i; sleep 0.01; done"


def serve(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A server that is expected not to start."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("RAPIDFLOW_")}
    done = fork_server.run(
        "serve",
        env={
            **clean,
            "RAPIDFLOW_DATA": str(tmp_path / "refused"),
            "RAPIDFLOW_BIND": "127.0.0.1:0",
            **environment,
        },
        timeout=20,
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def test_streams_are_cut_and_builds_go_on_when_the_server_ends(new_server: Callable[..., Server]) -> None:
    server = new_server().start()
    # It can't end before the server does, however long the followers take to come.
    step = f"{COUNT.format(lines=100)}; until [ -e /tmp/go ]; do sleep 0.01; done; echo gone on"
    job_id = server.start_job({"name": "goes on", "steps": [step, "echo second"]})
    server.wait_output(job_id, "line 5\n")
    followers = [server.follow(job_id) for _ in range(50)]
    resuming = ResumingFollower(server, job_id)
    for follower in followers:
        follower.wait_for(b"line 10\n")
    container_id = server.job(job_id)["container_id"]
    assert server.stop() < 2
    assert server.process is not None
    assert server.process.returncode == 0
    for follower in followers:
        follower.wait(10)
        assert follower.complete is False
    assert containers_of(server) == [container_id]
    subprocess.run(["docker", "exec", container_id, "touch", "/tmp/go"], check=True, timeout=60)

    server.start()
    details = server.wait_finished(job_id)
    lines = "".join(f"line {number}\n" for number in range(1, 101))
    assert [step["output"] for step in details["steps"]] == [f"{lines}gone on\n", "second\n"]
    final = server.get(f"/jobs/{job_id}/logs/stream").body
    assert resuming.wait() == final
    assert all(final.startswith(follower.received) for follower in followers)
    assert_ended_once(server, job_id)
    assert_nothing_left(server)


def test_the_server_ends_while_a_build_is_prepared_and_the_next_one_prepares_it_anew(
    new_server: Callable[..., Server],
) -> None:
    registry = Registry()
    registry.flows.clear()
    try:
        server = new_server().start()
        job_id = server.start_job({"name": "pulling", "image": registry.image, "steps": ["echo ran"]})
        wait_for(registry.pulls, "the image is being pulled")
        assert server.stop() < 2
        assert containers_of(server) == []
        registry.flows.set()
        server.start()
        assert server.wait_finished(job_id)["steps"][0]["output"] == "ran\n"
        assert_ended_once(server, job_id)
        assert_nothing_left(server)
    finally:
        registry.close()


def test_the_server_ends_while_a_cancel_waits_and_the_next_one_finishes_it(
    new_server: Callable[..., Server],
) -> None:
    server = new_server(grace="60s").start()
    step = f"trap 'echo cleaning; sleep 5; echo clean; exit 0' TERM; echo ready; {WAIT}"
    job_id = server.start_job({"name": "cancelled", "steps": [step]})
    server.wait_output(job_id, "ready\n")
    with ThreadPoolExecutor(1) as pool:
        cancel = pool.submit(server.post, f"/jobs/{job_id}/cancel")
        server.wait_output(job_id, "cleaning\n")
        assert server.stop() < 2
        answer = cancel.result()
    assert answer.status == 500
    assert answer.json == {"error": "the server is ending; the build is stopped when it starts again"}
    server.start()
    details = server.wait_finished(job_id)
    assert details["job"]["status"] == "cancelled"
    assert details["steps"][0]["output"].endswith("clean\n")
    assert_ended_once(server, job_id)
    assert_nothing_left(server)


def test_an_interrupt_ends_the_server_like_a_termination(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process").start()
    assert server.process is not None
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(10) == 0


def test_an_idle_server_logs_no_trouble(new_server: Callable[..., Server]) -> None:
    server = new_server().start()
    server.run({"name": "fine", "steps": ["true"]})
    server.stop()
    log = server.log.read_text()
    assert "Traceback" not in log
    assert "ERROR" not in log
    assert "never retrieved" not in log


def test_a_client_that_leaves_takes_its_connection_with_it(new_server: Callable[..., Server]) -> None:
    # Connections to an engine would come and go meanwhile.
    server = new_server(executor="process").start()
    assert server.process is not None
    folder = Path(f"/proc/{server.process.pid}/fd")
    before = len(list(folder.iterdir()))
    for _ in range(50):
        assert server.get("/health").status == 200
    wait_for(lambda: len(list(folder.iterdir())) <= before + 2, "the connections are closed", 10)


def test_a_connection_is_kept_for_the_next_request(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process").start()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.connect()
    kept = connection.sock
    for _ in range(3):
        connection.request("GET", "/health")
        assert connection.getresponse().read()
        assert connection.sock is kept
    connection.close()


def test_a_server_keeps_no_descriptor_of_builds_that_have_ended(new_server: Callable[..., Server]) -> None:
    server = new_server(grace="0").start()
    endings = {
        "success": server.pipeline({"name": "good", "steps": ["seq 1000", "true"]}),
        "failed": server.pipeline({"name": "bad", "steps": ["kill -9 $(pidof tee); sleep 1"]}),
        "cancelled": server.pipeline({"name": "endless", "steps": ["echo ready; sleep 1000"]}),
    }

    def one_of_each() -> None:
        ids = {status: server.start_build(pipeline_id) for status, pipeline_id in endings.items()}
        follower = server.follow(ids["cancelled"])
        server.wait_output(ids["cancelled"], "ready")
        assert server.post(f"/jobs/{ids['cancelled']}/cancel").status == 200
        follower.wait()
        for status, job_id in ids.items():
            assert server.wait_finished(job_id)["job"]["status"] == status
        assert_nothing_left(server)

    one_of_each()
    before = descriptors(server)
    for _ in range(3):
        one_of_each()
    # Connections to the engine and from the test come and go; nine builds would leave more.
    wait_for(lambda: descriptors(server) <= before + 4, "all is given back")


def test_a_second_server_on_the_same_data_folder_is_refused_with_one_sentence(
    new_server: Callable[..., Server], tmp_path: Path
) -> None:
    server = new_server(executor="process").start()
    # Also when both were told the same port, of which it is not the folder's fault that it is taken.
    address = f"127.0.0.1:{server.port}"
    refused = serve(tmp_path, RAPIDFLOW_DATA=str(server.data), RAPIDFLOW_BIND=address)
    assert refused.returncode != 0
    assert refused.stderr.startswith("rapidflow: another server uses the data folder")
    assert refused.stderr.count("\n") == 1
    assert server.run({"name": "still fine", "steps": ["true"]})["job"]["status"] == "success"


def test_a_second_server_with_a_data_folder_of_its_own_is_refused_on_the_same_database(
    new_server: Callable[..., Server], tmp_path: Path
) -> None:
    url = f"sqlite://{tmp_path}/elsewhere/builds.db"
    server = new_server(executor="process", database_url=url).start()
    refused = serve(tmp_path, RAPIDFLOW_DATA=str(tmp_path / "other"), RAPIDFLOW_DATABASE_URL=url)
    assert refused.returncode != 0
    assert refused.stderr == (
        f"rapidflow: another server uses the database {url}; stop it, or set RAPIDFLOW_DATABASE_URL.\n"
    )
    server.kill()
    assert server.start().get("/health").status == 200


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BIND", "192.0.2.1:0"),
        ("DATA", "/dev/null/data"),
        ("DATABASE_URL", "sqlite:////dev/null/rapidflow.db"),
        ("EXECUTOR", "podman"),
        ("KEEP_AGE", "90"),
        ("CONCURRENCY", "0"),
    ],
)
def test_a_wrong_setting_stops_the_start_with_one_sentence(tmp_path: Path, name: str, value: str) -> None:
    refused = serve(tmp_path, **{f"RAPIDFLOW_{name}": value})
    assert refused.returncode == 2
    assert refused.stderr.startswith("rapidflow: ")
    assert refused.stderr.count("\n") == 1, refused.stderr
    assert value.removeprefix("sqlite://") in refused.stderr


def test_a_file_is_no_data_folder(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    assert serve(tmp_path, RAPIDFLOW_DATA=str(path)).stderr == (
        f"rapidflow: RAPIDFLOW_DATA is '{path}', which can't be used: it is not a folder.\n"
    )


def test_an_address_that_others_can_reach_needs_a_user_or_a_proxy(
    tmp_path: Path, new_server: Callable[..., Server]
) -> None:
    refused = serve(tmp_path, RAPIDFLOW_BIND="0.0.0.0:0")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "there are no users. Add the first with 'rapidflow user add NAME --role admin'" in refused.stderr
    assert f"RAPIDFLOW_DATA is '{tmp_path / 'refused'}'" in refused.stderr
    server = new_server(executor="process")
    server.set(bind=f"0.0.0.0:{server.port}")
    server.command("user", "add", "root", "--role", "admin", input="long enough\n")
    assert server.start().get("/jobs").status == 401
    ready = f"ready: http://127.0.0.1:{server.port} and every other address of this machine\n"
    assert ready in server.log.read_text()
    server.stop()
    behind = new_server("behind", executor="process", login="proxy", proxy_addresses="127.0.0.1")
    behind.set(bind=f"0.0.0.0:{behind.port}")
    assert behind.start().get("/jobs").status == 401


def test_a_port_that_is_taken_stops_the_start_with_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        refused = serve(tmp_path, RAPIDFLOW_BIND=address)
    assert refused.returncode == 2
    assert (
        refused.stderr
        == f"rapidflow: RAPIDFLOW_BIND is '{address}', which can't be used: Address already in use. "
        "Stop what listens there, or set another.\n"
    )
