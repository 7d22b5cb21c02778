"""Clients that are slow, silent or greedy: each is bounded, and the others see nothing of it."""

from __future__ import annotations

import contextlib
import http.client
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.server import Server, wait_for
from tests.support.users import add_user

IMPATIENT = (
    sys.executable,
    "-c",
    "from rapidflow_web.server import connections\n"
    "connections.PATIENCE = connections.LONGEST_STALL = 1\n"
    "import rapidflow_web.__main__\n",
)
"""The server, with seconds where it has a minute and an hour; the rest is as always."""
GET = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("impatient") / "data", executor="process")
    server.program = IMPATIENT
    yield server.start()
    server.stop()


@pytest.fixture(scope="module")
def large(impatient: Server) -> int:
    """The id of a job with a log of 64 MiB."""
    steps = [f"head -c {64 * MIB - 1} /dev/zero | tr '\\0' x; echo"]
    job = impatient.run({"name": "large", "steps": steps, "log_limit": "200m"})["job"]
    assert job["status"] == "success"
    return job["id"]


def connect(server: Server, small: bool = False) -> socket.socket:
    """A connection; a `small` one takes little that it does not read."""
    client = socket.socket()
    if small:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(20)
    client.connect(("127.0.0.1", server.port))
    return client


def all_of(client: socket.socket) -> bytes:
    """What comes until the server ends the connection, as it must."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while chunk := client.recv(65536):
            received += chunk
    return received


def sockets(server: Server) -> int:
    """How many sockets the server has open."""
    assert server.process is not None
    found = 0
    for file in Path(f"/proc/{server.process.pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            found += str(file.readlink()).startswith("socket:")
    return found


# Slow


@pytest.mark.parametrize("head", [b"", b"GET", b"GET /health HTTP/1.1\r\nHost: loc"])
def test_a_client_that_does_not_ask_is_cut_off(impatient: Server, head: bytes) -> None:
    with connect(impatient) as client:
        client.sendall(head)
        assert all_of(client) == b""


def test_a_head_that_comes_byte_by_byte_is_cut_off_while_others_are_served(impatient: Server) -> None:
    with connect(impatient) as client:
        with pytest.raises(ConnectionError):
            for byte in b"GET /health HTTP/1.1\r\nX: " + b"x" * 1000:
                client.sendall(bytes([byte]))
                assert impatient.get("/health").status == 200
                time.sleep(0.05)
        assert all_of(client) == b""


def test_a_connection_that_is_kept_and_not_used_is_cut_off(impatient: Server) -> None:
    with connect(impatient) as client:
        client.sendall(GET)
        assert all_of(client).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("length", [b"Content-Length: 1000", b"Transfer-Encoding: chunked"])
def test_a_body_that_does_not_come_to_its_end_is_given_up(impatient: Server, length: bytes) -> None:
    with connect(impatient) as client:
        client.sendall(b"POST /pipelines HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/yaml\r\n")
        client.sendall(length + b"\r\n\r\n5\r\nname:\r\n")
        answer = all_of(client)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'{"error":"the request took too long to arrive"}' in answer


def test_a_body_that_trickles_for_ever_is_given_up(impatient: Server) -> None:
    with connect(impatient) as client:
        client.sendall(b"POST /pipelines HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/yaml\r\n")
        client.sendall(b"Transfer-Encoding: chunked\r\n\r\n")
        with pytest.raises(ConnectionError):
            for _ in range(200):
                client.sendall(b"2\r\n# \r\n")
                time.sleep(0.05)


@pytest.mark.parametrize("path", ["/static/css/base.css", "/jobs"])
def test_a_request_to_read_that_has_a_body_holds_no_connection(
    new_server: Callable[..., Server], path: str
) -> None:
    server = new_server(executor="process").start()
    assert [server.get(path).status for _ in range(3)] == [200] * 3  # from now on it may be kept
    before = sockets(server)
    # Each chunk is an event of its own, and only so many wait for whoever does not read them.
    head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            client = stack.enter_context(connect(server))
            client.sendall(head.encode() + b"1\r\nx\r\n" * 50)
            answer = http.client.HTTPResponse(client)
            answer.begin()
            assert (answer.status, bool(answer.read())) == (200, True)
    wait_for(lambda: sockets(server) <= before, "their connections are closed")


# Silent


def test_a_client_that_takes_no_answer_is_cut_off(impatient: Server, large: int) -> None:
    before, open_before = impatient.memory, sockets(impatient)
    paths = (f"/jobs/{large}/logs", f"/jobs/{large}/logs/stream", f"/jobs/{large}/logs/stream?follow=true")
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(impatient, small=True)) for _ in range(30)]
        for number, client in enumerate(clients):
            client.sendall(f"GET {paths[number % 3]} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert impatient.get("/health").status == 200
        wait_for(lambda: sockets(impatient) <= open_before, "they are cut off")
    assert impatient.memory - before < 64 * MIB
    assert "Traceback" not in impatient.log.read_text()


def test_a_client_that_asks_on_and_on_and_takes_nothing_is_cut_off(impatient: Server) -> None:
    before, open_before = impatient.memory, sockets(impatient)
    ask = b"GET /static/css/base.css HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with connect(impatient, small=True) as client:
        client.settimeout(0.5)
        with contextlib.suppress(TimeoutError, ConnectionError):
            while True:  # the server stops to read when it can't answer
                client.sendall(ask * 100)
        assert impatient.get("/health").status == 200
        wait_for(lambda: sockets(impatient) <= open_before, "it is cut off")
    assert impatient.memory - before < 32 * MIB


def test_requests_that_come_all_at_once_are_answered_one_by_one(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process").start()
    with connect(server) as client:
        client.sendall(GET * 1000)
        received = b""
        while received.count(b"HTTP/1.1 200 ") < 1000 or not received.endswith(b"}"):
            received += client.recv(65536)
    assert received.count(b'{"status":"ok"') == 1000


def test_a_client_that_vanishes_is_looked_for(impatient: Server) -> None:
    with connect(impatient) as client:
        mine = client.getsockname()[1]
        listing = subprocess.run(
            ["ss", "-tnoH", f"( sport = :{impatient.port} and dport = :{mine} )"],
            capture_output=True,
            text=True,
        )
        assert "timer:(keepalive" in listing.stdout


# Greedy


def test_thousands_of_idle_clients_leave_room_for_others(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process").start()
    before = server.memory
    with contextlib.ExitStack() as idle:
        for number in range(2000):
            client = idle.enter_context(connect(server))
            client.sendall(b"GET /" if number % 2 else GET)
        assert server.get("/jobs").status == 200
        taken = server.memory - before
        pipeline = server.pipeline({"name": "meanwhile", "steps": ["echo out"]})
        assert server.wait_finished(server.start_build(pipeline))["job"]["status"] == "success"
    assert taken < 200 * MIB
    wait_for(lambda: sockets(server) < 100, "they are gone")
    # Thousands that end in one moment are one turn of the loop or two, each of them a tenth of a millisecond.
    server.get("/health")
    time.sleep(0.5)  # until the loop guard has said so
    server.stalls.new()


@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_without_end_takes_no_memory(new_server: Callable[..., Server], chunked: bool) -> None:
    server = new_server(executor="process").start()
    before = server.memory
    with connect(server) as client:
        head = b"POST /pipelines HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/yaml\r\n"
        block = b"#" * 65536
        client.sendall(
            head + (b"Transfer-Encoding: chunked" if chunked else b"Content-Length: 99999999") + b"\r\n\r\n"
        )
        with contextlib.suppress(ConnectionError):
            for _ in range(1000):
                client.sendall(b"10000\r\n" + block + b"\r\n" if chunked else block)
        all_of(client)
    assert server.memory - before < 32 * MIB
    assert server.get("/health").status == 200


def test_whoever_is_not_logged_in_can_send_only_little(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process").start()
    add_user(server, "root", "admin")
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = server.request("POST", "/login", f"name=root&password={'x' * 20_000}", form)
    assert answer.status == 413
    assert "the request body is too large; at most 16384 bytes are taken" in answer.text.lower()
    assert server.request("POST", "/pipelines", "x" * 20_000, {"Content-Type": "text/yaml"}).status == 401
