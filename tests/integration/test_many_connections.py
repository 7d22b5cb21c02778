"""Clients that ask for too much, and what the others see of them."""

from __future__ import annotations

import contextlib
import resource
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from tests.support.server import COMMAND, Answer, Server, wait_for

NEVER_ENDING = b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Filler: "


def connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=20)


def fill(server: Server, idle: contextlib.ExitStack) -> tuple[int, Answer]:
    """Connects idle clients until another is refused; returns how many they are, and the refusal.

    One more or less than the bound: a client that has just left may be counted still.
    """
    answers: list[Answer] = []

    def full() -> bool:
        idle.enter_context(connect(server))
        answers.append(server.get("/health"))
        return answers[-1].status == 503

    wait_for(full, "a client is refused")
    return len(answers), answers[-1]


def test_clients_above_the_bound_are_refused_until_others_leave(new_server: Callable[..., Server]) -> None:
    server = new_server(connections="5").start()
    with contextlib.ExitStack() as idle:
        count, refused = fill(server, idle)
        assert 4 <= count <= 6
        assert refused.headers["retry-after"] == "5"
        assert refused.json == {"error": "too many clients are connected; try again in a while"}
    wait_for(lambda: server.get("/health").status == 200, "there is room again")


def test_the_limit_of_open_files_is_raised_at_the_start(new_server: Callable[..., Server]) -> None:
    usual, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        server = new_server()
        server.program = COMMAND
        server.start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (usual, hard))
    assert server.process is not None
    soft, _ = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
    assert soft == (65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536))


def test_where_few_files_may_be_open_clients_take_half_of_them(
    new_server: Callable[..., Server], tmp_path: Path
) -> None:
    limited = tmp_path / "python"
    limited.write_text(f'#!/bin/sh\nulimit -n 200\nexec {sys.executable} "$@"\n')
    limited.chmod(0o755)
    server = new_server()
    server.program = (str(limited), *COMMAND[1:])
    server.start()
    assert "at most 100 clients are served instead of 4096" in server.log.read_text()
    with contextlib.ExitStack() as idle:
        count, _ = fill(server, idle)
        assert 99 <= count <= 101
    wait_for(lambda: server.get("/health").status == 200, "there is room again")


def test_a_header_without_end_is_refused_while_others_are_served(new_server: Callable[..., Server]) -> None:
    server = new_server().start()
    with connect(server) as client:
        client.sendall(NEVER_ENDING)
        with contextlib.suppress(ConnectionError):
            for _ in range(1024):
                client.sendall(b"x" * 1024)
        assert server.get("/health").status == 200
        with contextlib.suppress(ConnectionError):
            # Nothing, where the rest of what was sent was thrown away with the connection.
            assert client.recv(65536).split(b"\r\n")[0] in (b"", b"HTTP/1.1 400 ", b"HTTP/1.1 431 ")
