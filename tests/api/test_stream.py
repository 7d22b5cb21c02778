"""The bytes of the stream, and that they are always the same: live, replayed, taken up again."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Callable
from typing import Any

from tests.support.gates import let_go, waiting
from tests.support.server import Server


def test_the_stream_of_a_build_that_succeeded(
    server: Server, succeeded: dict[str, Any], succeeded_stream: str
) -> None:
    answer = server.get(f"/jobs/{succeeded['job']['id']}/logs/stream")
    assert answer.text == succeeded_stream
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["content-length"] == str(len(succeeded_stream))
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["rapidflow-offset"] == "0"


def test_the_stream_of_a_build_that_failed_says_why_before_its_last_line(
    server: Server, failed: dict[str, Any]
) -> None:
    assert server.stream(failed["job"]["id"]) == (
        "=== Step 1 (bash) ===\n"
        "fine\n"
        "\n"
        "=== Step 2 (bash) ===\n"
        "oh no\n"
        "\n"
        "=== Build failed: step 2 (bash) exited with 3 ===\n"
        "=== Build completed ===\n"
    )


def test_the_stream_of_a_build_that_was_cancelled_ends_cleanly(
    server: Server, cancelled: dict[str, Any]
) -> None:
    assert server.stream(cancelled["job"]["id"]) == (
        "=== Step 1 (bash) ===\nworking\ncleaning up\n\n=== Build cancelled ===\n=== Build completed ===\n"
    )


def test_the_stream_of_a_build_that_never_started_has_only_its_end(queue: Any) -> None:
    server: Server = queue.server
    job_id = server.start_job({"name": "waits", "steps": ["echo never"]})
    assert server.get(f"/jobs/{job_id}/logs/stream").body == b""
    server.post(f"/jobs/{job_id}/cancel")
    assert server.stream(job_id) == "=== Build cancelled ===\n=== Build completed ===\n"


def test_a_build_that_failed_before_its_first_step_has_its_error_in_one_line(
    server: Server, repos: Any
) -> None:
    details = server.run(
        {"name": "no source", "repo_name": f"file://{repos}/nothing-here", "steps": ["echo never"]}
    )
    error = details["job"]["error"]
    assert error
    folded = " ".join(error.split("\n"))
    assert server.stream(details["job"]["id"]) == f"=== Build failed: {folded} ===\n=== Build completed ===\n"


def test_a_step_s_header_is_there_when_it_starts_and_output_as_it_comes(server: Server) -> None:
    job_id = server.start_job(
        {"name": "slow", "steps": [f"{waiting('a')}; echo first; {waiting('b')}; printf end", "true"]}
    )
    follower = server.follow(job_id)
    follower.wait_for(b"=== Step 1 (bash) ===\n")
    assert follower.received == b"=== Step 1 (bash) ===\n"
    let_go(server, job_id, "a")
    follower.wait_for(b"first\n")
    assert follower.received == b"=== Step 1 (bash) ===\nfirst\n"
    # Without follow the stream ends at what there is now, and has neither of the final lines.
    now = server.get(f"/jobs/{job_id}/logs/stream")
    assert (now.status, now.body) == (200, follower.received)
    assert "accept-ranges" not in now.headers
    assert follower.complete is None
    let_go(server, job_id, "b")
    assert follower.wait() == (
        b"=== Step 1 (bash) ===\nfirst\nend\n\n=== Step 2 (bash) ===\n\n=== Build completed ===\n"
    )
    assert follower.complete is True
    assert server.stream(job_id).encode() == follower.received


def test_a_pending_job_is_followed_from_before_its_start_to_its_end(queue: Any) -> None:
    server: Server = queue.server
    job_id = server.start_job({"name": "waits", "steps": ["echo at last"]})
    follower = server.follow(job_id)
    assert follower.response.headers["RapidFlow-Offset"] == "0"
    queue.release()
    assert follower.wait() == b"=== Step 1 (bash) ===\nat last\n\n=== Build completed ===\n"
    assert follower.complete is True


def test_a_follower_of_a_build_that_is_cancelled_sees_its_end(server: Server) -> None:
    script = "exec 2>&-\ntrap 'exit 0' TERM\necho up\nwhile :; do sleep 0.05; done\n"
    job_id = server.start_job({"name": "watched", "steps": [script]})
    follower = server.follow(job_id)
    follower.wait_for(b"up\n")
    server.post(f"/jobs/{job_id}/cancel")
    assert follower.wait() == (
        b"=== Step 1 (bash) ===\nup\n\n=== Build cancelled ===\n=== Build completed ===\n"
    )
    assert follower.complete is True


def test_following_a_finished_build_is_reading_it(
    server: Server, succeeded: dict[str, Any], succeeded_stream: str
) -> None:
    follower = server.follow(succeeded["job"]["id"])
    assert follower.wait().decode() == succeeded_stream
    assert follower.response.headers["Content-Length"] == str(len(succeeded_stream))


def test_followers_get_the_same_bytes_with_chunks_and_without(server: Server) -> None:
    job = server.start_job(
        {"name": "many pieces", "steps": ["for i in $(seq 50); do echo $i; sleep 0.02; done"]}
    )
    path = f"/jobs/{job}/logs/stream?follow=true"
    old = socket.create_connection(("127.0.0.1", server.port), 60)
    old.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("GET", path)
    answer = connection.getresponse()
    assert answer.chunked
    chunked = answer.read()
    with old, old.makefile("rb") as file:
        whole = file.read().partition(b"\r\n\r\n")[2]
    assert chunked == whole == server.get(f"/jobs/{job}/logs/stream").body
    assert chunked.endswith(b"=== Build completed ===\n")
    # The connection is as it should be for the next request.
    connection.request("GET", "/health")
    assert connection.getresponse().status == 200
    connection.close()


def test_live_is_the_same_as_replayed_and_as_taken_up_again_anywhere(server: Server) -> None:
    script = f"for i in $(seq 300); do echo line $i; done; {waiting('a')}; seq 5000; printf '\\xff\\x00raw'"
    job_id = server.start_job({"name": "much", "steps": [script, "seq 100 | tr '\\n' ' '"]})
    live = server.follow(job_id)
    live.wait_for(b"line 300\n")
    cut = len(live.received) // 2
    resumed = server.follow(job_id, f"follow=true&offset={cut}")
    far = server.follow(job_id, f"follow=true&offset={len(live.received) + 10_000}")
    let_go(server, job_id, "a")
    whole = live.wait()
    replayed = server.get(f"/jobs/{job_id}/logs/stream").body
    assert whole == replayed
    assert whole[:cut] + resumed.wait() == whole
    assert resumed.response.headers["RapidFlow-Offset"] == str(cut)
    # A follower may ask for what is not there yet; it waits for it.
    assert far.wait() == whole[int(far.response.headers["RapidFlow-Offset"]) :] != b""
    assert whole.endswith(
        b"\xff\x00raw\n\n=== Step 2 (bash) ===\n" + _numbers() + b"\n\n=== Build completed ===\n"
    )


def test_a_server_that_ends_cuts_its_streams_and_the_next_one_goes_on_with_them(
    new_server: Callable[..., Server],
) -> None:
    server = new_server(executor="process").start()
    waits = 'until [ -e "$RAPIDFLOW_WORKSPACE/go" ]; do sleep 0.02; done'
    job_id = server.start_job({"name": "goes on", "steps": [f"seq 100; {waits}; seq 100"]})
    follower = server.follow(job_id)
    follower.wait_for(b"\n100\n")
    server.stop()
    cut = follower.wait()
    # Without its last chunk: what ends properly has ended.
    assert follower.complete is False
    server.start()
    resumed = server.follow(job_id, f"follow=true&offset={len(cut)}")
    (server.data / "work" / str(job_id) / "workspace" / "go").touch()
    assert cut + resumed.wait() == server.get(f"/jobs/{job_id}/logs/stream").body
    assert resumed.complete is True


def test_who_has_the_last_line_finds_the_job_finished(server: Server) -> None:
    pipeline_id = server.pipeline({"name": "last line", "steps": ["true"]})
    for _ in range(5):
        job_id = server.start_build(pipeline_id)
        follower = server.follow(job_id)
        follower.wait_for(b"=== Build completed ===\n")
        assert server.job(job_id)["status"] == "success"
        follower.wait()


def _numbers() -> bytes:
    return b"".join(b"%d " % number for number in range(1, 101))


def test_two_answers_to_the_same_question_are_the_same_bytes_over_one_connection(
    server: Server, succeeded: dict[str, Any], succeeded_stream: str
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    for _ in range(3):
        connection.request("GET", f"/jobs/{succeeded['job']['id']}/logs/stream?follow=true")
        assert connection.getresponse().read().decode() == succeeded_stream
    connection.close()


def test_the_headers_of_a_stream_can_be_asked_for_alone(
    server: Server, succeeded: dict[str, Any], succeeded_stream: str, queue: Any
) -> None:
    head = server.request("HEAD", f"/jobs/{succeeded['job']['id']}/logs/stream?offset=10")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == str(len(succeeded_stream) - 10)
    assert head.headers["rapidflow-offset"] == "10"
    # Of a build that goes on nobody knows how much it will print; the answer does not wait for it.
    running = queue.server.request("HEAD", f"/jobs/{queue.holder}/logs/stream?follow=true")
    assert (running.status, running.body) == (200, b"")
    assert "content-length" not in running.headers
    assert running.headers["rapidflow-offset"] == "0"
    # A proxy with the usual settings would show a live log only when the build has ended.
    assert running.headers["x-accel-buffering"] == "no"
    assert "x-accel-buffering" not in head.headers
