"""The end of a relay, what it refuses to start with, and how fast it is."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import aiodocker
import pytest

from rapidflow_web.executors.cluster import relay
from rapidflow_web.executors.cluster.tls import context_of
from rapidflow_web.executors.docker.attachment import attach
from tests.support import images
from tests.support.relays import RelayProcess, echoing
from tests.support.server import free_port, wait_for

LINES = 2_000_000


@pytest.fixture
def relayed(tmp_path: Path) -> Iterator[RelayProcess]:
    """A relay before an engine that echoes."""
    with echoing(tmp_path) as made:
        yield made


def test_relay_without_connections_ends_soon(relayed: RelayProcess) -> None:
    relayed.terminate()

    assert relayed.process.wait(timeout=30) == 0


def test_relay_serves_on_while_a_connection_is_open(relayed: RelayProcess) -> None:
    client = relayed.connect()
    relayed.terminate()
    time.sleep(relay._IDLE_SECONDS + 1)
    other = relayed.connect()
    other.send(b"new")
    assert other.receive() == b"new"
    other.close()
    client.send(b"old")
    assert client.receive() == b"old"

    client.close()
    assert relayed.process.wait(timeout=30) == 0


def test_newer_relay_gets_all_new_connections(relayed: RelayProcess) -> None:
    client = relayed.connect()
    client.send(b"1")
    assert client.receive() == b"1"
    relayed.start()
    relayed.terminate()
    wait_for(lambda: "a newer relay has the port" in relayed.log, "the older one leaves the port")
    for _ in range(20):
        other = relayed.connect()
        other.send(b"new")
        assert other.receive() == b"new"
        other.close()

    client.send(b"still")
    assert client.receive() == b"still"
    client.close()
    assert relayed.processes[0].wait(timeout=30) == 0
    assert relayed.process.poll() is None


def test_port_of_another_program_is_refused(relayed: RelayProcess) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        command = [sys.executable, "-I", relayed.program, "--folder", relayed.folder / "secrets-0"]
        options = ["--engine", relayed.engine, "--port", str(other.getsockname()[1])]
        done = subprocess.run(
            [*command, *options, "--address", "127.0.0.1"], capture_output=True, text=True, timeout=30
        )

    assert done.returncode == relay.PORT_TAKEN
    assert "Address already in use" in done.stdout
    assert "Traceback" not in done.stderr


def test_socket_that_may_not_be_used_is_named(relayed: RelayProcess, tmp_path: Path) -> None:
    command = [sys.executable, "-I", relayed.program, "--folder", relayed.folder / "secrets-0"]
    options = ["--engine", tmp_path / "nothing", "--port", str(free_port())]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=30)

    assert done.returncode == relay.ENGINE_CLOSED
    assert f"{tmp_path}/nothing can't be used: No such file" in done.stdout


def test_output_through_the_relay_is_as_fast_as_without_it() -> None:
    """Prints how much longer it takes; `make bench` on an idle machine says it better."""
    relayed = RelayProcess(Path("/var/run/docker.sock"))
    try:
        lines = b"".join(b"%d\n" % number for number in range(1, LINES + 1))
        certificates = relayed.keys.certificates(relayed.state)
        took: dict[str, float] = {}
        for url, context in (
            ("unix:///var/run/docker.sock", None),
            (f"https://127.0.0.1:{relayed.port}", context_of(certificates)),
        ):
            output, took[url] = asyncio.run(_read_lines(url, context))
            assert output == lines
        direct, through = took.values()
        print(
            f"{LINES} lines: {direct:.1f} s, through the relay {through:.1f} s: {through / direct:.2f} times"
        )
    finally:
        relayed.close()


async def _read_lines(url: str, context: ssl.SSLContext | None) -> tuple[bytes, float]:
    """What a container prints that counts to LINES, and the seconds that it takes to come."""
    async with aiodocker.Docker(url, ssl_context=context) as engine:
        container = await engine.containers.create(
            {"Image": images.ensure(images.BASH), "Cmd": ["seq", "1", str(LINES)], "OpenStdin": True,
             "HostConfig": {"NetworkMode": "none", "LogConfig": {"Type": "none"}}}
        )  # fmt: skip
        try:
            attachment = await attach(engine, container.id)
            await container.start()
            begin = time.monotonic()
            pieces: list[bytes] = []
            while data := await attachment.read():
                pieces.append(data)
            seconds = time.monotonic() - begin
            attachment.close()
            return b"".join(pieces), seconds
        finally:
            await container.delete(force=True)
