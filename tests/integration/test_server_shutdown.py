"""A server that is asked to end: at once, whatever hangs, or when its builds have ended."""

from __future__ import annotations

import http.client
import json
import re
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from tests.support import images
from tests.support.builds import engine
from tests.support.consistency import assert_ended_once, assert_nothing_left
from tests.support.engine_proxy import EngineProxy
from tests.support.server import Server, wait_for

COUNT = "i=0; while [ $i -lt 100 ]; do i=$((i+1)); echo line $i; sleep 0.02; done"
COUNTED = "".join(f"line {number}\n" for number in range(1, 101))


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


def follows(server: Server) -> int:
    """How many streams the server sends now."""
    found = re.search(r"^rapidflow_followers (\d+)", server.get("/metrics").text, re.MULTILINE)
    assert found is not None
    return int(found[1])


@pytest.fixture
def server(proxy: EngineProxy, new_server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> Server:
    """A server that reaches the engine through the proxy."""
    images.ensure(images.BASH)
    monkeypatch.setenv("DOCKER_HOST", proxy.host)
    return new_server().start()


def test_a_server_ends_within_two_seconds_while_the_engine_hangs(server: Server, proxy: EngineProxy) -> None:
    runs = server.start_job({"name": "runs", "steps": [COUNT, "echo end"]})
    cancelled = server.start_job({"name": "cancelled", "steps": ["echo ready; sleep 1000"]})
    server.wait_output(runs, "line 5\n")
    server.wait_output(cancelled, "ready\n")
    follower = server.follow(runs)
    proxy.freeze()
    # One that is being prepared, one that is being stopped, and one that is heard.
    prepared = server.start_job({"name": "prepared", "steps": ["echo ran"]})
    canceller = server.follow(cancelled)
    server.request_and_leave("POST", f"/jobs/{cancelled}/cancel")
    wait_for(lambda: server.job(prepared)["status"] == "running", "it is claimed")
    assert server.stop() < 2
    follower.wait()
    canceller.wait()
    assert follower.complete is False
    proxy.thaw()
    server.start()
    details = server.wait_finished(runs)
    assert [step["output"] for step in details["steps"]] == [COUNTED, "end\n"]
    assert server.wait_finished(cancelled)["job"]["status"] == "cancelled"
    assert server.wait_finished(prepared)["steps"][0]["output"] == "ran\n"
    for job_id in (runs, cancelled, prepared):
        assert_ended_once(server, job_id)
    assert_nothing_left(server)


_STARTING = {"create": [b"/containers/create"], "start": [b"/start HTTP"]}


@pytest.mark.parametrize("calls", _STARTING.values(), ids=_STARTING)
def test_a_server_ends_within_two_seconds_while_the_engine_hangs_in_the_start_of_a_build(
    server: Server, proxy: EngineProxy, calls: list[bytes]
) -> None:
    proxy.freeze_after(*calls)
    job_id = server.start_job({"name": "starts", "steps": ["echo ran"]})
    wait_for(lambda: proxy.frozen, "the engine hangs")
    assert server.stop() < 2
    assert "ERROR" not in server.log.read_text()
    proxy.thaw()
    server.start()
    assert server.wait_finished(job_id)["steps"][0]["output"] == "ran\n"
    assert_ended_once(server, job_id)
    assert_nothing_left(server)


@pytest.mark.parametrize("part", ["create", "start"])
def test_a_build_is_cancelled_while_the_engine_hangs_in_its_start(
    server: Server, proxy: EngineProxy, part: str
) -> None:
    proxy.freeze_after(*_STARTING[part])
    job_id = server.start_job({"name": "starts", "steps": ["echo never"]})
    wait_for(lambda: proxy.frozen, "the engine hangs")
    # It is answered although the engine does not answer.
    assert server.post(f"/jobs/{job_id}/cancel").status == 200
    assert assert_ended_once(server, job_id)["job"]["status"] == "cancelled"
    proxy.thaw()
    assert_nothing_left(server)


def test_a_draining_server_waits_for_its_builds_and_starts_no_others(
    new_server: Callable[..., Server], threads: ThreadPoolExecutor
) -> None:
    server = new_server(concurrency="1").start("--drain")
    runs = server.start_job({"name": "runs", "steps": [COUNT, "until [ -e /go ]; do sleep 0.02; done"]})
    server.wait_output(runs, "line 1\n")
    follower = server.follow(runs)
    assert server.process is not None
    server.process.send_signal(signal.SIGTERM)
    wait_for(lambda: server.get("/ready").json["status"] == "draining", "it drains")
    assert server.get("/ready").status == 503
    assert "Shutting down" in server.get("/").text
    assert "rapidflow_draining 1.0\n" in server.get("/metrics").text
    pipeline = server.pipeline({"name": "waits", "steps": ["echo waited"]})
    asked = threads.submit(server.command, "run", str(pipeline))
    wait_for(lambda: server.get("/jobs?status=pending").json, "it is asked for")
    waits = server.get("/jobs").json[0]["id"]
    wait_for(lambda: follows(server) == 2, "it is followed")
    server.wait_output(runs, "=== Step 2")
    time.sleep(0.5)
    assert server.process.poll() is None
    engine("exec", server.job(runs)["container_id"], "touch", "/go")
    assert server.process.wait(10) == 0
    assert follower.wait().decode().endswith("=== Build completed ===\n")
    assert follower.complete is True
    server.start()
    assert server.job(runs)["status"] == "success"
    assert server.wait_finished(waits)["steps"][0]["output"] == "waited\n"
    said = asked.result(60)
    assert (said.returncode, said.stdout) == (0, server.stream(waits))
    assert f"job {waits} waits: the server is going to end" in said.stderr
    assert "SIGTERM" in server.log.read_text()
    assert_nothing_left(server)


def test_a_second_signal_ends_a_draining_server_and_the_builds_go_on(
    new_server: Callable[..., Server],
) -> None:
    server = new_server().start("--drain")
    runs = server.start_job({"name": "runs", "steps": [COUNT]})
    server.wait_output(runs, "line 1\n")
    assert server.process is not None
    server.process.send_signal(signal.SIGTERM)
    wait_for(lambda: server.get("/ready").json["status"] == "draining", "it drains")
    assert server.stop() < 2
    server.start()
    assert server.wait_finished(runs)["steps"][0]["output"] == COUNTED


def test_a_draining_server_without_builds_ends_at_once(new_server: Callable[..., Server]) -> None:
    assert new_server(executor="process").start("--drain").stop() < 2


@pytest.mark.parametrize("accept", ["*/*", "text/html,*/*;q=0.8"])
def test_a_request_that_the_end_of_the_server_cuts_off_is_answered_with_a_sentence(
    new_server: Callable[..., Server], accept: str
) -> None:
    server = new_server(executor="process").start()
    pipeline_id = server.pipeline({"name": "cut off", "steps": ["true"]})
    path = f"/pipelines/{pipeline_id}/jobs"
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    with closing(connection):
        connection.putrequest("POST", path)
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", "100")
        connection.putheader("Accept", accept)
        connection.endheaders(b"{")
        assert server.get("/health").status == 200  # by then it has read the head
        server.stop()
        answer = connection.getresponse()
        assert answer.status == 500
        text = answer.read().decode()
        sentence = text if "html" in accept else json.loads(text)["error"]
        assert sentence.startswith("the server is ending; check after its restart")
    assert "Traceback" not in server.log.read_text()
    server.start()
    assert server.get(path).json == []


def test_the_log_of_the_server_names_the_job_of_each_line_in_json(server: Server, proxy: EngineProxy) -> None:
    server.stop()
    server.set(log_format="json", engine_timeout="1s")
    server.log.unlink()
    server.start()
    good = server.run({"name": "good", "steps": ["true"]})["job"]["id"]
    bad = server.run({"name": "bad", "steps": ["exit 3"]})["job"]["id"]
    lost = server.start_job({"name": "lost", "steps": ["echo ready; sleep 1000"]})
    server.wait_output(lost, "ready\n")
    proxy.go_away()

    def said(job_id: int, words: str) -> bool:
        lines = [json.loads(line) for line in server.log.read_text().splitlines()]
        assert all({"time", "level", "logger", "message"} <= entry.keys() for entry in lines)
        return any(entry.get("job") == job_id and words in entry["message"] for entry in lines)

    wait_for(lambda: said(lost, "the next sweep removes what is left"), "it says what it left")
    assert said(good, "started: good")
    assert said(good, "success")
    assert said(bad, "failed: step 1 (bash) exited with 3")
    assert f'"message": "RapidFlow Web is ready: {server.url}"' in server.log.read_text()
    proxy.come_back()
