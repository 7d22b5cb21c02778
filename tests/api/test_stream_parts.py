"""Parts of the stream: `since`, `offset`, `tail`, Range, and all that they can be together."""

from __future__ import annotations

import http.client
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.gates import let_go, waiting
from tests.support.server import Answer, Server

LAST = "=== Build completed ===\n"


class Stream:
    """The stream of a finished build, its steps and the whole of it."""

    def __init__(self, server: Server, details: dict[str, Any], whole: str) -> None:
        self.path = f"/jobs/{details['job']['id']}/logs/stream"
        self.steps: list[int] = [step["id"] for step in details["steps"]]
        self.whole = whole.encode()
        self.url = server.url + self.path
        self._server = server

    def get(self, query: str = "", wanted: str | None = None) -> Answer:
        return self._server.get(f"{self.path}?{query}", {"Range": wanted} if wanted else None)

    def after(self, order_num: int) -> bytes:
        """What should be left without the steps up to the one of this number."""
        if order_num == 0:
            return self.whole
        header = b"=== Step %d " % (order_num + 1)
        return self.whole[self.whole.index(header if header in self.whole else LAST.encode()) :]


@pytest.fixture
def stream(server: Server, succeeded: dict[str, Any], succeeded_stream: str) -> Stream:
    return Stream(server, succeeded, succeeded_stream)


@pytest.fixture(scope="module")
def running(server: Server) -> Iterator[Stream]:
    """The stream of a build that waits in its second step of three."""
    job_id = server.start_job(
        {"name": "goes on", "steps": ["echo one", f"seq 5; {waiting('end')}", "echo three"]}
    )
    server.wait_output(job_id, "5\n")
    whole = "=== Step 1 (bash) ===\none\n\n=== Step 2 (bash) ===\n1\n2\n3\n4\n5\n"
    yield Stream(server, server.details(job_id), whole)
    let_go(server, job_id, "end")
    server.wait_finished(job_id)


def test_since_leaves_out_a_step_and_every_earlier_one(stream: Stream) -> None:
    assert stream.get("since=0").body == stream.whole
    assert stream.get(f"since={stream.steps[0] - 1}").body == stream.whole
    for order_num, step_id in enumerate(stream.steps, 1):
        answer = stream.get(f"since={step_id}")
        assert answer.body == stream.after(order_num)
        assert answer.headers["rapidflow-offset"] == "0"
        assert answer.headers["content-length"] == str(len(answer.body))


@pytest.mark.parametrize("beyond", ["1", "999999999", "9" * 19, "9" * 40])
def test_after_the_last_step_only_the_final_lines_are_left(stream: Stream, beyond: str) -> None:
    since = stream.steps[-1] + 1 if beyond == "1" else int(beyond)
    assert stream.get(f"since={since}").text == LAST


def test_since_a_step_of_a_build_that_stopped_before_the_next_leaves_why_it_failed(
    server: Server, failed: dict[str, Any]
) -> None:
    for step in failed["steps"][1:]:
        assert server.stream(failed["job"]["id"], f"since={step['id']}") == (
            f"=== Build failed: step 2 (bash) exited with 3 ===\n{LAST}"
        )


def test_since_of_a_running_build_begins_where_the_next_step_does(running: Stream) -> None:
    assert running.get(f"since={running.steps[0] - 1}").body == running.whole
    assert running.get(f"since={running.steps[0]}").body == b"=== Step 2 (bash) ===\n1\n2\n3\n4\n5\n"
    for step_id in (*running.steps[1:], 10**12):
        answer = running.get(f"since={step_id}")
        assert (answer.status, answer.body, answer.headers["rapidflow-offset"]) == (200, b"", "0")


def test_since_of_a_followed_build_waits_for_the_next_step(server: Server) -> None:
    job_id = server.start_job({"name": "since", "steps": [f"echo one; {waiting('a')}", "echo two"]})
    server.wait_output(job_id, "one")
    first, second = (step["id"] for step in server.details(job_id)["steps"])
    followers = [server.follow(job_id, f"follow=true&since={step_id}") for step_id in (first, second)]
    let_go(server, job_id, "a")
    assert followers[0].wait().decode() == f"=== Step 2 (bash) ===\ntwo\n\n{LAST}"
    assert followers[1].wait().decode() == LAST


def test_offset_skips_bytes_of_what_would_have_been_sent(stream: Stream) -> None:
    size = len(stream.whole)
    for offset in (0, 1, size // 2, size - 1, size):
        answer = stream.get(f"offset={offset}")
        assert (answer.status, answer.body) == (200, stream.whole[offset:])
        assert answer.headers["rapidflow-offset"] == str(offset)
        assert answer.headers["content-length"] == str(size - offset)
    left = stream.after(2)
    assert stream.get(f"since={stream.steps[1]}&offset=7").body == left[7:]


@pytest.mark.parametrize("beyond", [1, 10**6, 10**18, 10**30])
def test_an_offset_past_the_end_of_a_finished_build_is_an_error_that_says_how_long_it_is(
    stream: Stream, beyond: int
) -> None:
    size = len(stream.whole)
    answer = stream.get(f"offset={size + beyond}")
    assert answer.status == 416
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["content-range"] == f"bytes */{size}"
    assert answer.text == f"the log has {size} bytes; offset {size + beyond} is past its end\n"


def test_an_offset_past_the_end_of_a_running_build_is_nothing_yet(running: Stream) -> None:
    for offset in (len(running.whole), len(running.whole) + 1, 10**12):
        answer = running.get(f"offset={offset}")
        assert (answer.status, answer.body, answer.headers["rapidflow-offset"]) == (200, b"", str(offset))


def test_tail_begins_at_the_last_lines(stream: Stream, running: Stream) -> None:
    for kind in (stream, running):
        lines = kind.whole.splitlines(keepends=True)
        for count in (0, 1, 2, len(lines) - 1, len(lines), len(lines) + 1, 10**12):
            expected = b"".join(lines[-count:] if count else [])
            answer = kind.get(f"tail={count}")
            assert (answer.status, answer.body) == (200, expected)
            assert answer.headers["rapidflow-offset"] == str(len(kind.whole) - len(expected))


def test_tail_ends_where_since_begins_and_its_cursor_counts_from_there(stream: Stream) -> None:
    left = stream.after(3)
    begin = f"since={stream.steps[2]}"
    whole, last = stream.get(f"{begin}&tail=1000"), stream.get(f"{begin}&tail=1")
    assert (whole.body, whole.headers["rapidflow-offset"]) == (left, "0")
    assert last.text == LAST
    cursor = int(last.headers["rapidflow-offset"])
    assert stream.get(f"{begin}&offset={cursor}").body == last.body


def test_tail_of_a_followed_build_goes_on_from_there(server: Server) -> None:
    job_id = server.start_job({"name": "tail", "steps": [f"seq 9; {waiting('a')}; echo end"]})
    server.wait_output(job_id, "9\n")
    follower = server.follow(job_id, "follow=true&tail=2")
    follower.wait_for(b"9\n")
    let_go(server, job_id, "a")
    assert follower.wait().decode() == f"8\n9\nend\n\n{LAST}"
    cursor = int(follower.response.headers["RapidFlow-Offset"])
    assert server.get(f"/jobs/{job_id}/logs/stream?offset={cursor}").body == follower.received


def test_a_range_of_a_finished_build_is_that_part_of_it(stream: Stream) -> None:
    size = len(stream.whole)
    for wanted, first, last in (
        ("bytes=0-", 0, size - 1),
        ("bytes=5-", 5, size - 1),
        (f"bytes={size - 1}-", size - 1, size - 1),
        ("bytes=0-0", 0, 0),
        ("bytes=3-9", 3, 9),
        (f"bytes=3-{size + 100}", 3, size - 1),
        (f"bytes=3-{'9' * 40}", 3, size - 1),
        ("bytes=-1", size - 1, size - 1),
        ("bytes=-10", size - 10, size - 1),
        (f"bytes=-{size + 100}", 0, size - 1),
    ):
        for query in ("", "follow=true"):
            answer = stream.get(query, wanted)
            assert (answer.status, answer.body) == (206, stream.whole[first : last + 1]), wanted
            assert answer.headers["content-range"] == f"bytes {first}-{last}/{size}"
            assert answer.headers["content-length"] == str(last - first + 1)
            assert answer.headers["rapidflow-offset"] == str(first)


def test_a_range_counts_from_where_the_query_begins(stream: Stream) -> None:
    tail = stream.get("tail=2")
    begin, size = int(tail.headers["rapidflow-offset"]), len(tail.body)
    answer = stream.get("tail=2", "bytes=3-")
    assert (answer.status, answer.body) == (206, tail.body[3:])
    assert answer.headers["content-range"] == f"bytes 3-{size - 1}/{size}"
    assert answer.headers["rapidflow-offset"] == str(begin + 3)
    assert stream.get("offset=10", "bytes=5-6").body == stream.whole[15:17]
    assert stream.get(f"since={stream.steps[0]}&offset=1", "bytes=-4").body == stream.whole[-4:]


@pytest.mark.parametrize(
    "wanted", ["bytes={size}-", "bytes={size}-{size}", "bytes=" + "9" * 40 + "-", "bytes=-0"]
)
def test_a_range_past_the_end_of_a_finished_build_is_an_error_that_says_how_long_it_is(
    stream: Stream, wanted: str
) -> None:
    size = len(stream.whole)
    answer = stream.get("", wanted.format(size=size))
    assert answer.status == 416
    assert answer.headers["content-range"] == f"bytes */{size}"
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert stream.get(f"offset={size}", "bytes=0-").status == 416


@pytest.mark.parametrize(
    "wanted",
    [
        "bytes=0-1,3-4",
        "bytes=5-3",
        "bytes=-",
        "bytes=",
        "bytes=a-b",
        "lines=0-1",
        "bytes",
        "bytes=-1-2",
        "bytes=+1-",
    ],
)
def test_a_range_of_another_form_is_ignored(stream: Stream, wanted: str) -> None:
    answer = stream.get("", wanted)
    assert (answer.status, answer.body) == (200, stream.whole)
    assert "content-range" not in answer.headers


def test_a_range_of_a_running_build_is_the_part_that_is_there_of_nobody_knows_how_much(
    running: Stream,
) -> None:
    size = len(running.whole)
    for wanted, first, last in (
        ("bytes=0-", 0, size - 1),
        ("bytes=5-", 5, size - 1),
        ("bytes=3-9", 3, 9),
        (f"bytes=3-{size + 100}", 3, size - 1),
    ):
        answer = running.get("", wanted)
        assert (answer.status, answer.body) == (206, running.whole[first : last + 1])
        assert answer.headers["content-range"] == f"bytes {first}-{last}/*"
        assert answer.headers["rapidflow-offset"] == str(first)
    beyond = running.get("", f"bytes={size + 5}-")
    assert (beyond.status, beyond.body) == (206, b"")
    assert beyond.headers["content-range"] == f"bytes {size + 5}-*/*"
    # Which bytes will be the last ones nobody knows.
    assert running.get("", "bytes=-3").status == 200


def test_a_followed_build_can_be_taken_up_by_range(server: Server) -> None:
    job_id = server.start_job({"name": "range", "steps": [f"seq 9; {waiting('a')}; echo end"]})
    server.wait_output(job_id, "9\n")
    path, so_far = f"/jobs/{job_id}/logs/stream?follow=true", server.stream(job_id)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("GET", path, headers={"Range": f"bytes={len(so_far)}-"})
    response = connection.getresponse()
    assert response.status == 206
    assert response.headers["Content-Range"] == f"bytes {len(so_far)}-*/*"
    assert response.headers["RapidFlow-Offset"] == str(len(so_far))
    let_go(server, job_id, "a")
    assert so_far + response.read().decode() == server.stream(job_id)
    connection.close()


@pytest.mark.parametrize("share", [0, 1, 0.5, -1, None])
def test_curl_takes_up_a_download_where_it_was(stream: Stream, tmp_path: Path, share: float | None) -> None:
    size = len(stream.whole)
    had = {0: 0, 1: 1, 0.5: size // 2, -1: size - 1, None: size}[share]
    target = tmp_path / "log"
    target.write_bytes(stream.whole[:had])
    done = subprocess.run(
        ["curl", "-sS", "-C", "-", "-o", str(target), stream.url], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert target.read_bytes() == stream.whole


def test_curl_takes_up_a_running_build_and_what_it_has_when_there_is_no_more(
    running: Stream, tmp_path: Path
) -> None:
    target = tmp_path / "log"
    for had in (10, len(running.whole)):
        target.write_bytes(running.whole[:had])
        done = subprocess.run(
            ["curl", "-sS", "-C", "-", "-o", str(target), running.url], capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert target.read_bytes() == running.whole


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("since=x", "since=x: use a whole number from 0"),
        ("since=", "since=: use a whole number from 0"),
        ("since=-1", "since=-1: use a whole number from 0"),
        ("since=1.5", "since=1.5: use a whole number from 0"),
        ("since=1e3", "since=1e3: use a whole number from 0"),
        ("since=%D9%A3", "since=\u0663: use a whole number from 0"),
        ("since=1_0", "since=1_0: use a whole number from 0"),
        ("since=+1", "since= 1: use a whole number from 0"),
        ("offset=-1", "offset=-1: use a whole number from 0"),
        ("offset=end", "offset=end: use a whole number from 0"),
        ("tail=-5", "tail=-5: use a whole number from 0"),
        ("tail=all", "tail=all: use a whole number from 0"),
        ("follow=yes", "follow=yes: use true or false"),
        ("follow=", "follow=: use true or false"),
        ("follow=TRUE", "follow=TRUE: use true or false"),
        ("since=1&since=2", "the query has 'since' more than once"),
        ("folow=true", "unknown query parameter 'folow', did you mean 'follow'?"),
        ("x=1", "unknown query parameter 'x'; there is follow, since, offset, tail"),
        ("tail=1&offset=1", "give either 'tail' or 'offset', not both"),
        ("tail=0&offset=0", "give either 'tail' or 'offset', not both"),
    ],
)
def test_a_bad_query_is_an_error_in_plain_text(stream: Stream, query: str, words: str) -> None:
    answer = stream.get(query)
    assert (answer.status, answer.text) == (400, f"{words}\n")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize("value", ["true", "1", "false", "0"])
def test_follow_is_a_flag(stream: Stream, value: str) -> None:
    assert stream.get(f"follow={value}").body == stream.whole


@pytest.mark.parametrize("job_id", ["0", "-1", "abc", "999999999", "9" * 19, "9" * 40, "1.0", "0001"])
def test_a_stream_of_no_job_is_an_error_in_plain_text(server: Server, job_id: str) -> None:
    for headers in ({}, {"Accept": "text/html"}, {"Accept": "application/json"}):
        answer = server.get(f"/jobs/{job_id}/logs/stream", headers)
        assert answer.status == 404
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.text.startswith("there is no job ")
        assert answer.text.count("\n") == 1


def test_a_stream_is_only_read(server: Server, stream: Stream) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        answer = server.request(method, stream.path)
        assert answer.status == 405
        assert answer.headers["allow"] == "GET, HEAD, OPTIONS"
        assert answer.text == "this address does not take this method; use GET, HEAD, OPTIONS\n"
