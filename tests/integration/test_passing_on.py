"""Pieces of a followed log go to the connection directly, without the layers of the framework."""

from __future__ import annotations

import socket
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.gates import let_go, waiting
from tests.support.server import Server, wait_for

COUNTING = """
import os, sys
from rapidflow_web.server import connections, protocol

counts = os.open(sys.argv.pop(1), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
pass_on, send = connections.Connection.pass_on, protocol._Connection.send

def counted_pass_on(self, data):
    passed = pass_on(self, data)
    os.write(counts, b"passed\\n" if passed else b"refused\\n")
    return passed

def counted_send(self, event):
    os.write(counts, type(event).__name__.encode() + b"\\n")
    return send(self, event)

connections.Connection.pass_on, protocol._Connection.send = counted_pass_on, counted_send
import rapidflow_web.__main__
"""
"""The server, which counts in a file what it sends by which way."""
LINES = 40


class Counting:
    """A server that counts how it sends pieces of answers."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "counts"
        self._file.touch()
        self.server = Server(folder / "data", executor="process", grace="1s")
        self.server.program = (sys.executable, "-c", COUNTING, self._file)
        self.server.start()

    def begin(self) -> None:
        """Counts from here."""
        self._file.write_bytes(b"")

    def counts(self) -> Counter[str]:
        """How often pieces were passed on or refused, and how often each event went through the protocol."""
        return Counter(self._file.read_text().split())


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counting]:
    one = Counting(tmp_path_factory.mktemp("counting"))
    yield one
    one.server.stop()


def test_lines_of_a_followed_log_do_not_go_through_the_protocol(counting: Counting):
    server = counting.server
    step = f"for n in $(seq {LINES}); do {waiting('$n')}; echo line $n; done"
    job = server.start_job({"name": "Slowly", "steps": [step]})
    begin_at_step_1(counting, job)
    follower = server.follow(job)
    for number in range(1, LINES + 1):
        # Without a request, which would be counted.
        (server.data / "work" / str(job) / "workspace" / str(number)).touch()
        follower.wait_for(f"line {number}\n".encode())
    assert follower.wait() == server.stream(job).encode() and follower.complete
    counts = counting.counts()
    assert counts["passed"] >= LINES
    # The head, the first piece and the end; a line that goes this way has passed a dozen layers before.
    assert counts["Data"] < LINES / 4
    assert counts["refused"] == 0


def test_a_client_that_is_behind_is_waited_for(counting: Counting):
    server = counting.server
    step = f"{waiting()}; head -c 16000000 /dev/zero | tr '\\0' x; echo; echo end"
    job = server.start_job({"name": "Much", "steps": [step], "log_limit": "100m"})
    begin_at_step_1(counting, job)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.settimeout(30)
        client.connect(("127.0.0.1", server.port))
        client.sendall(
            f"GET /jobs/{job}/logs/stream?follow=true HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        )
        received = client.recv(1)
        let_go(server, job)
        wait_for(lambda: counting.counts()["refused"], "the server waits for the client")
        while not received.endswith(b"\r\n0\r\n\r\n"):
            received += (piece := client.recv(1 << 20))
            assert piece, "the answer ended in its middle"
    assert _body(received) == server.stream(job).encode()


def test_clients_of_old_protocols_get_no_chunks(counting: Counting):
    server = counting.server
    job = server.start_job({"name": "Old", "steps": [f"{waiting()}; seq 1000"]})
    begin_at_step_1(counting, job)
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.sendall(
            f"GET /jobs/{job}/logs/stream?follow=true HTTP/1.0\r\nHost: localhost\r\n\r\n".encode()
        )
        received = client.recv(1)
        let_go(server, job)
        while piece := client.recv(1 << 20):
            received += piece
    assert received.partition(b"\r\n\r\n")[2] == server.stream(job).encode()
    assert counting.counts()["passed"] == 0


def begin_at_step_1(counting: Counting, job: int) -> None:
    """Counts from step 1 of a job on, when whoever waited for its output has gone."""
    server = counting.server
    server.wait_output(job, "Step 1")
    wait_for(lambda: "rapidflow_followers 0.0" in server.get("/metrics").text, "nobody follows")
    counting.begin()


def _body(answer: bytes) -> bytes:
    """The body of a chunked answer."""
    rest, body = answer.partition(b"\r\n\r\n")[2], b""
    while True:
        length, _, rest = rest.partition(b"\r\n")
        if not (size := int(length, 16)):
            return body
        body, rest = body + rest[:size], rest[size + 2 :]
