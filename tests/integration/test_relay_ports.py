"""Ports of a machine's loopback, through its relay: for builds that publish theirs there."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from rapidflow_web.executors.cluster.forwarding import Forward
from rapidflow_web.executors.cluster.inventory import Node
from rapidflow_web.executors.cluster.tls import context_of
from tests.support.relays import RelayProcess, echo, echoing
from tests.support.server import free_port, wait_for

MEGABYTES = bytes(range(256)) * 4096 * 5


@pytest.fixture(scope="module")
def relayed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RelayProcess]:
    """A relay before an engine that echoes."""
    with echoing(tmp_path_factory.mktemp("relay")) as made:
        yield made


@pytest.fixture
def listens() -> Iterator[Callable[..., int]]:
    """Listens at a port of loopback, and serves its connections as a build would."""
    listeners: list[socket.socket] = []

    def listen(serve: Callable[[socket.socket], None] = echo) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=run, args=(connection,), daemon=True).start()

        def run(connection: socket.socket) -> None:
            with connection:
                serve(connection)

        threading.Thread(target=accept, daemon=True).start()
        return listener.getsockname()[1]

    yield listen
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def _node(relayed: RelayProcess) -> Node:
    certificates = relayed.keys.certificates(relayed.keys.make())
    return Node("id", "machine", f"tcp://127.0.0.1:{relayed.port}", certificates, {}, None, None)


@asynccontextmanager
async def _forwarded(node: Node, port: int) -> AsyncIterator[tuple[Forward, int]]:
    forward = Forward({"80": f"127.0.0.1:{port}"}, lambda: node)
    try:
        yield forward, int(forward.ports["80"].removeprefix("127.0.0.1:"))
    finally:
        forward.close()


async def test_bytes_and_ends_of_both_sides_pass(relayed: RelayProcess, listens: Callable[..., int]) -> None:
    async with _forwarded(_node(relayed), listens()) as (_, port):
        for _ in range(2):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(MEGABYTES)
            writer.write_eof()
            # What comes after the client's end was said after it was seen.
            assert await reader.read() == MEGABYTES + b"goodbye"
            writer.close()


async def test_side_that_ends_first_hears_the_other_out(
    relayed: RelayProcess, listens: Callable[..., int]
) -> None:
    heard: list[bytes] = []

    def say_goodbye_and_listen(connection: socket.socket) -> None:
        connection.sendall(b"goodbye")
        connection.shutdown(socket.SHUT_WR)
        while data := connection.recv(65536):
            heard.append(data)

    async with _forwarded(_node(relayed), listens(say_goodbye_and_listen)) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == b"goodbye"
        writer.write(b"more")
        await writer.drain()
        await asyncio.to_thread(wait_for, lambda: b"".join(heard) == b"more", "the rest has come")
        writer.close()


async def test_port_at_which_nothing_listens_ends_the_connection(
    relayed: RelayProcess, caplog: pytest.LogCaptureFixture
) -> None:
    async with _forwarded(_node(relayed), free_port()) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read() == b""
        writer.close()
    assert "does not answer: Connection refused" in relayed.log


async def test_relay_that_is_gone_is_named(
    relayed: RelayProcess, listens: Callable[..., int], caplog: pytest.LogCaptureFixture
) -> None:
    node = _node(relayed)
    gone = Node(node.id, node.name, f"tcp://127.0.0.1:{free_port()}", node.certificates, {}, None, None)
    async with _forwarded(gone, listens()) as (_, port):
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert await reader.read() == b""
            writer.close()
    assert [record.message for record in caplog.records if "machine" in record.message] == [
        "the port of a build on node machine can't be reached: Connection refused"
    ]


async def test_machine_that_is_cut_off_ends_connections_and_takes_new_ones(
    relayed: RelayProcess, listens: Callable[..., int]
) -> None:
    async with _forwarded(_node(relayed), listens()) as (forward, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        forward.cut()
        assert await reader.read() == b""
        writer.close()

        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        forward.close()
        assert await reader.read() == b""
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)


async def test_relay_that_knows_of_no_ports_never_gives_the_engine(
    tmp_path: Path, listens: Callable[..., int], caplog: pytest.LogCaptureFixture
) -> None:
    with echoing(tmp_path, changes={"    context.set_alpn_protocols([PORTS])\n": ""}) as old:
        async with _forwarded(_node(old), listens()) as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /containers/json HTTP/1.1\r\n\r\n")
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
            writer.close()
    assert "its relay is older than this server; build its image again" in caplog.text


@pytest.mark.parametrize("name", ["port-0", "port-65536", "port-x", "port-", "other"])
def test_name_that_is_no_port_gets_nothing(relayed: RelayProcess, name: str) -> None:
    context = context_of(relayed.keys.certificates(relayed.state))
    context.set_alpn_protocols(["rapidflow-ports"])
    with (
        socket.create_connection(("127.0.0.1", relayed.port), timeout=10) as connection,
        context.wrap_socket(connection, server_hostname=name) as client,
        contextlib.suppress(ConnectionError, ssl.SSLError),
    ):
        client.sendall(b"hello")
        assert client.recv(100) == b""
