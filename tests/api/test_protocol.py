"""Requests as bytes: what is no plain HTTP/1.1, or could be read in two ways, is refused."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import struct
from collections.abc import Callable
from urllib.parse import quote

import pytest

from rapidflow_web.web.security_headers import HEADERS
from tests.support.server import Server, wait_for

HOST = b"Host: localhost\r\n"
LAST = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def answers(server: Server, request: bytes, then: bytes = LAST) -> list[tuple[int, dict[str, str], bytes]]:
    """All answers to a request and to `then`, which comes right after it and has to be the last one."""
    received = b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        client.sendall(request + then)
        with contextlib.suppress(ConnectionError):
            while chunk := client.recv(65536):
                received += chunk
    found: list[tuple[int, dict[str, str], bytes]] = []
    while received:
        head, _, received = received.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = int(headers["content-length"])
        found.append((int(status.split()[1]), headers, received[:length]))
        received = received[length:]
    return found


HIDDEN = b"0\r\n\r\nDELETE /pipelines/1 HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /pipelines/1/jobs HTTP/1.1\r\n" + HOST


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (POST + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n" + HIDDEN, 400),
        (POST + b"Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n" + HIDDEN, 400),
        (POST + b"Content-Length: 6\r\nContent-Length: 5\r\n\r\n123456", 400),
        (POST + b"Content-Length: 6, 5\r\n\r\n123456", 400),
        (POST + b"Content-Length: +6\r\n\r\n123456", 400),
        (POST + b"Content-Length: -1\r\n\r\n", 400),
        (POST + b"Content-Length: 0x6\r\n\r\n123456", 400),
        (POST + b"Content-Length: 6 \x0b\r\n\r\n123456", 400),
        (POST + b"Content-Length : 6\r\n\r\n123456", 400),
        (POST + b"Transfer-Encoding: xchunked\r\n\r\n" + HIDDEN, 501),
        (POST + b"Transfer-Encoding: identity, chunked\r\n\r\n" + HIDDEN, 501),
        (POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n" + HIDDEN, 501),
        (POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n" + HIDDEN, 400),
        (POST + b"Transfer-Encoding : chunked\r\n\r\n" + HIDDEN, 400),
        (POST + b"X: a\rTransfer-Encoding: chunked\r\n\r\n" + HIDDEN, 400),
        (POST + b"X: a\0b\r\n\r\n", 400),
        (POST + b"X: a\x1bb\r\n\r\n", 400),
        (POST + b"X: a\x7fb\r\n\r\n", 400),
        (POST + b": a\r\n\r\n", 400),
        (POST + b"Content-Length: 6\r\nContent-Length: 6\r\n\r\n123456", 400),
        (POST + b"Content-Length: 6, 6\r\n\r\n123456", 400),
        (POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n" + HIDDEN, 501),
        (POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + HIDDEN, 501),
        (POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n" + HIDDEN, 400),
        # Lines that end in less than CR LF, and fields that go on in the next.
        (b"GET /health HTTP/1.1\nHost: localhost\n\n", 400),
        (b"GET /health HTTP/1.1\n" + HOST + b"\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: localhost\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\n" + HOST + b"X: y\n\n", 400),
        (b"GET /health HTTP/1.1\r\n" + HOST + b"\n", 400),
        (b"GET /health HTTP/1.1\rHost: localhost\r\r", 400),
        (b"GET /health HTTP/1.1\r\n" + HOST + b"X: a\r\n folded\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\n" + HOST + b"X: a\r\n\tfolded\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\n" + HOST + b"X: a\r\n \r\n\r\n", 400),
        (b"\nGET /health HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET /health HTTP/1.1\r\n" + HOST + b"X: " + b"x" * 20_000 + b"\r\n\r\n", 431),
        (b" " + LAST, 400),
        (b"GET  /health HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET /hea lth HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET /health HTTP/1.1\r\n X: y\r\n" + HOST + b"\r\n", 400),
        (b"GET /health\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        # No host, two, and one in the address that is another.
        (b"GET /health HTTP/1.1\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\n" + HOST + HOST + b"\r\n", 400),
        (b"GET /health HTTP/1.1\r\n" + HOST + b"Host: evil.example\r\n\r\n", 400),
        (b"GET http://evil.example/health HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET http://localhost:1/health HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET http://evil@localhost/health HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET http://[localhost/health HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET http://localhost:443/health HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET http:///health HTTP/1.0\r\n\r\n", 400),
        (b"GET localhost:80 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET evil.example HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"CONNECT evil.example:80 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        # Other protocols.
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", 505),
        (b"GET /health HTTP/2.0\r\n" + HOST + b"\r\n", 505),
        (b"GET /health HTTP/1.2\r\n" + HOST + b"\r\n", 505),
        (b"GET /health HTTP/0.9\r\n" + HOST + b"\r\n", 505),
    ],
)  # fmt: skip
def test_what_could_be_read_in_two_ways_is_refused_and_nothing_after_it_is_read(
    server: Server, request_bytes: bytes, status: int
) -> None:
    ((found, headers, body),) = answers(server, request_bytes)
    assert found == status
    assert headers["connection"] == "close" and headers["content-type"] == "application/json"
    assert re.fullmatch("[a-z].+", json.loads(body)["error"])
    assert {name: headers[name.lower()] for name in HEADERS} == HEADERS


def test_a_broken_body_ends_the_connection(server: Server) -> None:
    for chunk in (b"zz\r\n", b"-1\r\n", b"1\r\nabc\r\n", b"ffffffffffffffffffffffff\r\n", b"5;x\n12345\r\n",
                  b"5;x\ry\r\n12345\r\n", b"5;x\0\r\n12345\r\n", b"5\n12345\n0\n\n",
                  b"1;" + b"x" * 2000 + b"\r\na\r\n", b"1;" + b"x" * 20_000, b"0" * 30 + b"1\r\na\r\n",
                  b"0\r\nX: y\n\r\n", b"0\r\nX: y\n\n", b"0\r\nX: y\r\n z\r\n\r\n", b"0\r\n X: y\r\n\r\n",
                  b"0\r\nX: a\0\r\n\r\n"):  # fmt: skip
        found = answers(server, POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunk)
        assert [status for status, *_ in found] in ([400], [404])


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /health HTTP/1.1\r\n" + HOST + b"X: a\tb \xe4\r\nY:\r\n\r\n",
        b"GET http://localhost/health HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET HTTP://LOCALHOST/health HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET http://localhost:80/health HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET https://localhost/health HTTP/1.1\r\nHost: localhost:443\r\n\r\n",
        b"OPTIONS http://localhost/health HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /health HTTP/1.1\r\n" + HOST + b"Content-Length: 7\r\n\r\na\nb\rc\0\n",
        b"GET /health HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
        b"5;name=value\r\n12\n45\r\n0\r\nDigest: x\r\n\r\n",
        b"GET /health HTTP/1.1\r\n" + HOST + b"Expect: nonsense\r\n\r\n",
        # Wishes for another protocol, which a server may leave alone.
        b"GET /health HTTP/1.1\r\n" + HOST + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
        b"GET /health HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        b"GET /health HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n\r\n",
    ],
)  # fmt: skip
def test_what_is_only_odd_is_answered_and_so_is_what_comes_after_it(
    server: Server, request_bytes: bytes
) -> None:
    assert [status for status, *_ in answers(server, request_bytes)] == [200, 200]


def test_a_head_that_is_too_large_is_refused(server: Server) -> None:
    ((status, _, body),) = answers(server, b"GET /health HTTP/1.1\r\n" + HOST + b"X: " + b"x" * 20_000, b"")
    assert status == 431
    assert json.loads(body) == {"error": "the head of the request is too large; send at most 16 KiB"}


NUMBERS = ["9" * 18, "9" * 19, "9" * 1000, "9" * 5000, "-1", "1e9", "0x10", "٣", "%00"]


@pytest.mark.parametrize("value", NUMBERS, ids=lambda value: value[:8])
@pytest.mark.parametrize("name", ["since", "offset", "tail"])
def test_a_number_of_any_size_has_an_answer(server: Server, name: str, value: str) -> None:
    job_id = server.run({"name": "numbers", "steps": ["echo out"]})["job"]["id"]
    path = f"/jobs/{job_id}/logs/stream?{name}={value if value[0] in '%' else quote(value)}"
    answer = server.get(path)
    assert answer.status in ((200, 400, 416) if value.startswith("9") else (400,))
    head = server.request("HEAD", path)
    assert (head.status, head.body) == (answer.status, b"")


@pytest.mark.parametrize(
    "ranges",
    ["bytes=" + ",".join(f"{i}-{i}" for i in range(1500)), "bytes=0-" + "9" * 4000,
     "bytes=" + "9" * 4000 + "-", "bytes=-" + "9" * 4000, "bytes=5-1", "bytes=--1", "lines=1-2",
     "bytes=" + ",0-" * 1000],
    ids=lambda ranges: ranges[:12],
)  # fmt: skip
def test_a_range_of_any_kind_has_an_answer_no_longer_than_the_log(server: Server, ranges: str) -> None:
    job_id = server.run({"name": "ranges", "steps": ["echo out"]})["job"]["id"]
    whole = server.get(f"/jobs/{job_id}/logs/stream").body
    for method in ("GET", "HEAD"):
        answer = server.request(method, f"/jobs/{job_id}/logs/stream", headers={"Range": ranges})
        assert answer.status in (200, 206, 400, 416)
        assert len(answer.body) <= max(len(whole), 300)
    static = server.get("/static/css/base.css", {"Range": ranges})
    assert static.status in (200, 206, 416)
    assert len(static.body) <= len(server.get("/static/css/base.css").body)


def exchange(server: Server, request: bytes) -> bytes:
    """All that is sent to a client that shuts its sending side after the request."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as client:
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        received = b""
        while chunk := client.recv(65536):
            received += chunk
    return received


@pytest.mark.parametrize("path", ["/health", "/ready", "/jobs", "/"])
def test_a_client_of_http_1_0_needs_no_host(server: Server, path: str) -> None:
    head, _, body = exchange(server, f"GET {path} HTTP/1.0\r\n\r\n".encode()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ") and body
    refused = exchange(server, f"GET {path} HTTP/1.0\r\nHost: evil.example\r\n\r\n".encode())
    assert refused.startswith(b"HTTP/1.1 403 ")


def test_a_client_that_shuts_its_sending_side_has_the_whole_answer(server: Server) -> None:
    get = b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n"
    assert exchange(server, get % b"/health").startswith(b"HTTP/1.1 200 ")
    body = b'{"name": "posted", "config": "steps: [echo out]"}'
    made = b"POST /pipelines HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    answer = exchange(server, made + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    assert b"HTTP/1.1 201 " in answer and answer.endswith(b"}")
    job_id = server.start_job({"name": "slow", "steps": ["echo first; sleep 2; seq 50000; echo last"]})
    streamed = exchange(server, get % f"/jobs/{job_id}/logs/stream?follow=true".encode())
    assert b"first\n" in streamed and b"\n50000\n" in streamed
    assert streamed.endswith(b"=== Build completed ===\n\r\n0\r\n\r\n")


def test_an_answer_that_takes_long_comes_to_a_client_that_shut_its_sending_side(server: Server) -> None:
    script = "trap 'sleep 2; echo cleaned' TERM; echo ready; sleep 100 & wait $!; wait $!"
    job_id = server.start_job({"name": "cleans up", "steps": [script]})
    server.wait_output(job_id, "ready")
    cancel = f"POST /jobs/{job_id}/cancel HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    assert exchange(server, cancel).endswith(b'{"message":"job cancelled successfully"}')


def test_a_client_that_shuts_its_sending_side_and_goes_is_noticed(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process").start()
    job_id = server.start_job({"name": "silent", "steps": ["echo ready; sleep 1000"]})
    server.wait_output(job_id, "ready")

    def followers() -> bytes:
        return re.findall(rb"^rapidflow_followers (\S+)", server.get("/metrics").body, re.MULTILINE)[0]

    stream = f"GET /jobs/{job_id}/logs/stream?follow=true HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as client:
        client.sendall(stream)
        received = b""
        while b"ready" not in received:
            received += client.recv(65536)
        client.shutdown(socket.SHUT_WR)
        wait_for(lambda: followers() == b"1.0", "it is followed")
        # As a client is reset that is gone.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait_for(lambda: followers() == b"0.0", "nobody follows any more")
    server.post(f"/jobs/{job_id}/cancel")
