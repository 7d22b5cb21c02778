"""Ports of a machine's loopback, through its relay: for builds that publish theirs there."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import itertools
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import ParamSpec

import pytest
import uvloop

from rapidflow_web.errors import EngineUnavailable
from rapidflow_web.executors.cluster import forwarding, tunnel
from rapidflow_web.executors.cluster.certificates import Keys
from rapidflow_web.executors.cluster.forwarding import Forward, Forwards
from rapidflow_web.executors.cluster.inventory import Node
from rapidflow_web.executors.cluster.node_connection import NodeConnection
from rapidflow_web.executors.cluster.tls import context_of
from rapidflow_web.executors.cluster.tunnel import abort_when_closed
from tests.support.relays import RelayProcess, echo, echoing
from tests.support.server import free_port, wait_for

P = ParamSpec("P")
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
            with connection, contextlib.suppress(OSError):
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


def _on_the_loop_of_the_server(test: Callable[P, Coroutine[None, None, None]]) -> Callable[P, None]:
    @functools.wraps(test)
    def run(*arguments: P.args, **options: P.kwargs) -> None:
        uvloop.run(test(*arguments, **options))

    return run


@asynccontextmanager
async def _forwarded(node: Node, port: int) -> AsyncIterator[tuple[Forward, int]]:
    forwards = Forwards(lambda: node)
    forward = forwards.open({"80": f"127.0.0.1:{port}"})
    try:
        yield forward, int(forward.ports["80"].removeprefix("127.0.0.1:"))
    finally:
        forwards.close()


async def _is_broken_off(reader: asyncio.StreamReader, *before: bytes) -> bool:
    """Whether a connection is broken off after these bytes, and so can't be taken for one that has ended."""
    try:
        assert await reader.read() == b"".join(before)
    except ConnectionResetError:
        return True
    return False


@_on_the_loop_of_the_server
async def test_bytes_and_ends_of_both_sides_pass(relayed: RelayProcess, listens: Callable[..., int]) -> None:
    async with _forwarded(_node(relayed), listens()) as (_, port):
        for _ in range(2):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(MEGABYTES)
            writer.write_eof()
            # What comes after the client's end was said after it was seen.
            assert await reader.read() == MEGABYTES + b"goodbye"
            writer.close()


@_on_the_loop_of_the_server
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


@_on_the_loop_of_the_server
async def test_port_at_which_nothing_listens_breaks_off(relayed: RelayProcess) -> None:
    async with _forwarded(_node(relayed), free_port()) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await _is_broken_off(reader)
        writer.close()
    assert "does not answer: Connection refused" in relayed.log


@_on_the_loop_of_the_server
async def test_relay_that_is_gone_is_named(
    relayed: RelayProcess, listens: Callable[..., int], caplog: pytest.LogCaptureFixture
) -> None:
    node = _node(relayed)
    gone = Node(node.id, node.name, f"tcp://127.0.0.1:{free_port()}", node.certificates, {}, None, None)
    async with _forwarded(gone, listens()) as (_, port):
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert await _is_broken_off(reader)
            writer.close()
    assert [record.message for record in caplog.records if "machine" in record.message] == [
        "the port of a build on node machine can't be reached: Connection refused"
    ]


@_on_the_loop_of_the_server
async def test_machine_that_is_cut_off_ends_connections_and_takes_new_ones(
    relayed: RelayProcess, listens: Callable[..., int]
) -> None:
    async with _forwarded(_node(relayed), listens()) as (forward, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        forward.cut()
        assert await _is_broken_off(reader)
        writer.close()

        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        forward.close()
        assert await _is_broken_off(reader)
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)


@_on_the_loop_of_the_server
async def test_relay_that_knows_of_no_ports_never_gives_the_engine(
    tmp_path: Path, listens: Callable[..., int], caplog: pytest.LogCaptureFixture
) -> None:
    with echoing(tmp_path, changes={"    context.set_alpn_protocols([PORTS])\n": ""}) as old:
        async with _forwarded(_node(old), listens()) as (_, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /containers/json HTTP/1.1\r\n\r\n")
            assert await _is_broken_off(reader)
            writer.close()
    assert "its relay is older than this server; build the relay's image again" in caplog.text


@_on_the_loop_of_the_server
async def test_answer_that_is_cut_off_is_no_whole_one(
    relayed: RelayProcess, listens: Callable[..., int]
) -> None:
    def reset(connection: socket.socket) -> None:
        connection.sendall(b"part")
        assert connection.recv(100)
        abort_when_closed(connection)

    async with _forwarded(_node(relayed), listens(reset)) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.readexactly(4) == b"part"
        writer.write(b"go on")
        assert await _is_broken_off(reader)
        writer.close()


@_on_the_loop_of_the_server
async def test_build_sees_that_a_client_broke_off(relayed: RelayProcess, listens: Callable[..., int]) -> None:
    heard: list[bytes] = []

    def read(connection: socket.socket) -> None:
        try:
            while data := connection.recv(100):
                heard.append(data)
            heard.append(b"the end")
        except ConnectionResetError:
            heard.append(b"broken off")

    async with _forwarded(_node(relayed), listens(read)) as (_, port):
        client = socket.create_connection(("127.0.0.1", port))
        client.sendall(b"part")
        await asyncio.to_thread(wait_for, lambda: heard == [b"part"], "it has come")
        abort_when_closed(client)
        client.close()
        await asyncio.to_thread(wait_for, lambda: len(heard) == 2, "the build sees it")
    assert heard == [b"part", b"broken off"]


@_on_the_loop_of_the_server
async def test_relay_that_refuses_us_is_named(
    relayed: RelayProcess, listens: Callable[..., int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    foreign = Keys(tmp_path)
    theirs, ours = foreign.certificates(foreign.make()), _node(relayed).certificates
    assert ours is not None
    mixed = replace(ours, certificate=theirs.certificate, key=theirs.key)
    async with _forwarded(replace(_node(relayed), certificates=mixed), listens()) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await _is_broken_off(reader)
        writer.close()
    assert "the port of a build on node machine can't be reached: " in caplog.text


@_on_the_loop_of_the_server
async def test_machine_that_is_down_is_not_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    def reach() -> Node:
        raise EngineUnavailable("node machine can't be reached: it is down")

    forward = Forwards(reach).open({"80": "127.0.0.1:80"})
    reader, writer = await asyncio.open_connection(*forward.ports["80"].split(":"))
    assert await _is_broken_off(reader)
    writer.close()
    forward.close()
    assert "the port of a build on a node can't be reached: node machine can't be reached" in caplog.text


@_on_the_loop_of_the_server
async def test_build_has_no_address_where_nothing_can_listen(
    relayed: RelayProcess, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def create_server(*_: object) -> socket.socket:
        raise OSError(errno.EMFILE, "no more")

    monkeypatch.setattr(forwarding.socket, "create_server", create_server)
    node = NodeConnection()
    node.node = _node(relayed)

    forward = node.forward({"80": "127.0.0.1:32768"})

    # That address is another machine's.
    assert forward is not None and forward.ports == {}
    assert "nothing can listen for it here: Too many open files" in caplog.text
    await node.close()


@_on_the_loop_of_the_server
async def test_others_have_their_turn_during_a_download(
    relayed: RelayProcess, listens: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent, pieces, in_one_turn, total = tunnel._sent, 0, 0, 0

    async def counted(target: socket.socket, data: memoryview) -> None:
        nonlocal pieces, total
        pieces, total = pieces + 1, total + len(data)
        await sent(target, data)

    def turn() -> None:
        nonlocal pieces, in_one_turn
        in_one_turn, pieces = max(in_one_turn, pieces), 0
        if total < len(MEGABYTES) * 20:
            loop.call_soon(turn)

    def flood(connection: socket.socket) -> None:
        for _ in range(20):
            connection.sendall(MEGABYTES)

    def download(port: int) -> None:
        with socket.create_connection(("127.0.0.1", port)) as client:
            while client.recv(1 << 20):
                pass

    monkeypatch.setattr(tunnel, "_sent", counted)
    async with _forwarded(_node(relayed), listens(flood)) as (_, port):
        loop = asyncio.get_running_loop()
        loop.call_soon(turn)
        await asyncio.to_thread(download, port)
    assert total >= len(MEGABYTES) * 20
    # One for each direction.
    assert in_one_turn <= 2


@_on_the_loop_of_the_server
async def test_clients_that_hang_up_make_room_for_others(
    relayed: RelayProcess, listens: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forwarding, "_WATCH_SECONDS", 0.2)
    monkeypatch.setattr(tunnel, "_KEEPALIVE", {socket.TCP_KEEPIDLE: 1, socket.TCP_KEEPINTVL: 1})
    numbers, waits = itertools.count(), threading.Event()

    def wait_or_echo(connection: socket.socket) -> None:
        if next(numbers) < forwarding._MOST_CONNECTIONS:
            waits.wait()
        else:
            echo(connection)

    async with _forwarded(_node(relayed), listens(wait_or_echo)) as (_, port):
        for _ in range(forwarding._MOST_CONNECTIONS):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            # So that the system forgets it soon, and says so to whoever asks.
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_LINGER2, 1)
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            await writer.drain()
            writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        writer.close()
    waits.set()


@_on_the_loop_of_the_server
async def test_ports_that_nobody_uses_take_no_room(
    relayed: RelayProcess, listens: Callable[..., int]
) -> None:
    address = f"127.0.0.1:{listens()}"
    forwards = Forwards(lambda: _node(relayed))
    many = [forwards.open({"80": address}) for _ in range(forwarding._MOST_CONNECTIONS + 5)]
    reader, writer = await asyncio.open_connection(*many[-1].ports["80"].split(":"))
    writer.write(b"hello")
    assert await reader.readexactly(5) == b"hello"
    writer.close()
    forwards.close()


@pytest.mark.parametrize(
    "name", ["port-0", "port-65536", "port-x", "port-", "other", "80", "port-8-0", "port-080"]
)
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
