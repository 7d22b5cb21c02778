"""The relay by itself: who gets through to the engine, and what becomes of connections."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from rapidflow_web.executors.cluster import certificates, relay
from rapidflow_web.executors.cluster.certificates import Keys
from rapidflow_web.executors.cluster.inventory import Certificates
from rapidflow_web.executors.cluster.tls import context_of
from tests.support.machine import only_root
from tests.support.relays import RelayProcess, StandIn, echo, echoing, engine_socket
from tests.support.server import wait_for

NONE_OF_OURS = "unable to get local issuer certificate"
MEGABYTE = 1 << 20


def _count(connection: socket.socket) -> None:
    """Ends its own side at once, takes what comes and keeps how much that was."""
    connection.sendall(b"done")
    connection.shutdown(socket.SHUT_WR)
    size = 0
    while data := connection.recv(65536):
        size += len(data)
    _counted.append(size)


_counted: list[int] = []


def _flood(connection: socket.socket) -> None:
    """Sends as fast as it is read."""
    data = bytes(MEGABYTE)
    while True:
        connection.sendall(data)
        _flooded.append(len(data))


_flooded: list[int] = []


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Callable[..., StandIn]]:
    made: list[StandIn] = []

    def make(serve: Callable[[socket.socket], None] = echo) -> StandIn:
        made.append(StandIn(engine_socket(tmp_path), serve))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def relayed(tmp_path: Path) -> Iterator[RelayProcess]:
    """A relay before an engine that echoes."""
    with echoing(tmp_path) as made:
        yield made


def _accepted(relayed: RelayProcess) -> int:
    """How many connections the engine has had, without the one that a relay tries when it starts."""
    return relayed.stand_in.accepted - len(relayed.processes)  # type: ignore[attr-defined]


# Who gets through


def test_server_speaks_with_the_engine(relayed: RelayProcess) -> None:
    client = relayed.connect()
    client.send(b"hello")

    assert client.receive() == b"hello"
    assert _accepted(relayed) == 1


def _none(relayed: RelayProcess, tmp_path: Path) -> ssl.SSLContext:
    return _trusting(relayed)


def _foreign(relayed: RelayProcess, tmp_path: Path) -> ssl.SSLContext:
    keys = Keys(tmp_path / "foreign")
    (tmp_path / "foreign").mkdir()
    theirs = keys.certificates(keys.make())
    return _trusting(relayed, theirs)


def _of_a_relay(relayed: RelayProcess, tmp_path: Path) -> ssl.SSLContext:
    folder = relayed.folder / "cluster" / "1"
    return _trusting(relayed, Certificates(folder / "ca.pem", folder / "relay.pem", folder / "relay-key.pem"))


def _trusting(relayed: RelayProcess, own: Certificates | None = None) -> ssl.SSLContext:
    """A client that trusts the relay and has the certificate `own`, if any."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(relayed.keys.certificates(relayed.state).ca)
    if own is not None:
        context.load_cert_chain(own.certificate, own.key)
    return context


@pytest.mark.parametrize(
    "make, reason",
    [
        (_none, "PEER_DID_NOT_RETURN_A_CERTIFICATE"),
        (_foreign, NONE_OF_OURS),
        (_of_a_relay, "unsuitable certificate purpose"),
    ],
)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_no_other_client_gets_through(
    relayed: RelayProcess,
    tmp_path: Path,
    make: Callable[[RelayProcess, Path], ssl.SSLContext],
    reason: str,
    version: ssl.TLSVersion,
) -> None:
    context = make(relayed, tmp_path)
    context.maximum_version = version
    received = b""
    with pytest.raises(OSError):
        client = relayed.connect(context)
        client.send(b"GET /_ping HTTP/1.1\r\nHost: docker\r\n\r\n")
        received += client.receive()

    wait_for(lambda: reason in relayed.log, "the relay says why")
    assert received == b""
    assert _accepted(relayed) == 0


def test_expired_certificate_gets_through_no_more(
    engine: Callable[..., StandIn], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine()
    monkeypatch.setattr(certificates, "_LIFE", timedelta(seconds=-1))
    relayed = RelayProcess(engine_socket(tmp_path))
    try:
        context = _trusting(relayed, relayed.keys.certificates(relayed.state))
        context.verify_mode = ssl.CERT_NONE  # the relay's is as old
        with pytest.raises(OSError):
            client = relayed.connect(context)
            client.send(b"hello")
            client.receive()
        wait_for(lambda: "certificate has expired" in relayed.log, "the relay says why")
    finally:
        relayed.close()


def test_server_trusts_no_other_relay(relayed: RelayProcess, tmp_path: Path) -> None:
    (tmp_path / "foreign").mkdir()
    keys = Keys(tmp_path / "foreign")

    with pytest.raises(ssl.SSLCertVerificationError):
        relayed.connect(context_of(keys.certificates(keys.make())))


def test_clients_that_say_nothing_do_not_keep_others_out(relayed: RelayProcess) -> None:
    silent = [
        socket.create_connection(("127.0.0.1", relayed.port)) for _ in range(3 * relay._MOST_HANDSHAKES)
    ]

    client = relayed.connect()
    client.send(b"hello")
    assert client.receive() == b"hello"

    # The first have been given up.
    assert silent[0].recv(1) == b""
    for one in silent:
        one.close()


def test_clients_that_say_nothing_give_way_to_those_of_other_addresses(relayed: RelayProcess) -> None:
    slow = socket.create_connection(("127.0.0.1", relayed.port))
    silent = [
        socket.create_connection(("127.0.0.1", relayed.port), source_address=("127.0.0.2", 0))
        for _ in range(2 * relay._MOST_HANDSHAKES)
    ]
    assert silent[0].recv(1) == b""

    slow.settimeout(2)
    with pytest.raises(TimeoutError):
        slow.recv(1)
    for one in (slow, *silent):
        one.close()


# What becomes of connections


def test_client_may_end_its_side_and_read_on(relayed: RelayProcess) -> None:
    client = relayed.connect()
    client.send(b"hello ")
    client.end()

    assert client.receive_all() == b"hello goodbye"


def test_engine_may_end_its_side_and_read_on(engine: Callable[..., StandIn], tmp_path: Path) -> None:
    engine(_count)
    relayed = RelayProcess(engine_socket(tmp_path))
    try:
        _counted.clear()
        client = relayed.connect()
        assert client.receive_all() == b"done"
        for _ in range(20):
            client.send(bytes(MEGABYTE))
        client.end()

        wait_for(lambda: _counted, "the engine has read all")
        assert _counted == [20 * MEGABYTE]
    finally:
        relayed.close()


def test_much_goes_both_ways_to_the_byte(relayed: RelayProcess) -> None:
    clients = [(relayed.connect(), os.urandom(MEGABYTE)) for _ in range(3)]
    for start in range(0, MEGABYTE, 50_000):
        for client, data in clients:
            client.send(data[start : start + 50_000])
    for client, data in clients:
        received = b""
        while len(received) < MEGABYTE:
            received += client.receive()
        client.end()
        assert received == data
        assert client.receive_all() == b"goodbye"


def test_engine_waits_for_a_client_that_does_not_read(engine: Callable[..., StandIn], tmp_path: Path) -> None:
    engine(_flood)
    relayed = RelayProcess(engine_socket(tmp_path))
    try:
        _flooded.clear()
        client = relayed.connect()
        client.receive()
        _wait_until_still(_flooded)
        assert sum(_flooded) < 20 * MEGABYTE
        before = sum(_flooded)

        received = 0
        while received < 50 * MEGABYTE:
            received += len(client.receive())
        assert sum(_flooded) > before
    finally:
        relayed.close()


def _wait_until_still(changing: list[int]) -> None:
    before = -1
    while len(changing) != before:
        before = len(changing)
        time.sleep(0.5)


def test_many_connections_at_once(relayed: RelayProcess) -> None:
    clients = [relayed.connect() for _ in range(300)]
    for number, client in enumerate(clients):
        client.send(b"%d" % number)
    assert [client.receive() for client in clients] == [b"%d" % number for number in range(300)]
    for client in clients:
        client.close()


def test_client_that_breaks_off_takes_its_engine_connection_along(
    engine: Callable[..., StandIn], tmp_path: Path
) -> None:
    ended: list[bool] = []

    def wait(connection: socket.socket) -> None:
        while connection.recv(1000):
            pass
        ended.append(True)

    engine(wait)
    relayed = RelayProcess(engine_socket(tmp_path))
    try:
        wait_for(lambda: ended, "the relay's own look at the engine has ended")
        client = relayed.connect()
        client.send(b"hello")
        client.close()
        wait_for(lambda: len(ended) == 2, "the engine's side has ended")
    finally:
        relayed.close()


@pytest.fixture
def far() -> Iterator[tuple[str, str]]:
    """A network namespace with a link to this machine, and its address there."""
    number = os.getpid() % 250
    name, address = f"rfd-{number}", f"10.78.{number}"
    try:
        for command in (
            f"netns add {name}",
            f"link add {name} type veth peer name eth0 netns {name}",
            f"addr add {address}.1/24 dev {name}",
            f"link set {name} up",
            f"-netns {name} addr add {address}.2/24 dev eth0",
            f"-netns {name} link set eth0 up",
        ):
            subprocess.run(["ip", *command.split()], check=True)
        yield name, f"{address}.2"
    finally:
        # That of the namespace would take its link along later.
        subprocess.run(["ip", "link", "delete", name])
        subprocess.run(["ip", "netns", "delete", name])


@only_root
@pytest.mark.parametrize("sends", [True, False])
def test_client_that_is_gone_without_a_word_is_let_go_of(
    engine: Callable[..., StandIn], tmp_path: Path, far: tuple[str, str], *, sends: bool
) -> None:
    """Else the engine would wait for ever for it to read, and with it whoever inspects the container."""
    ended: list[bool] = []

    def serve(connection: socket.socket) -> None:
        try:
            while sends:
                connection.sendall(bytes(MEGABYTE))
            while connection.recv(1000):
                pass
        finally:
            ended.append(True)

    engine(serve)
    name, address = far
    faster = {
        "_DEAD_SECONDS = 60.0": "_DEAD_SECONDS = 2.0",
        "_WATCH_SECONDS = 5.0": "_WATCH_SECONDS = 0.2",
        "TCP_KEEPIDLE: 30, socket.TCP_KEEPINTVL: 10": "TCP_KEEPIDLE: 1, socket.TCP_KEEPINTVL: 1",
    }
    relayed = RelayProcess(engine_socket(tmp_path), address, name, faster)
    try:
        wait_for(lambda: ended, "the relay's own look at the engine has ended")
        client = relayed.connect()
        if sends:
            client.receive()
            # One that only does not read is not gone.
            time.sleep(5)
        client.send(b"hello")
        assert len(ended) == 1
        subprocess.run(["ip", "link", "set", name, "down"], check=True)
        wait_for(lambda: len(ended) == 2, "the engine is let go of", 60)
    finally:
        relayed.close()


def test_engine_that_is_away_ends_the_connection_alone(relayed: RelayProcess, tmp_path: Path) -> None:
    engine_socket(tmp_path).unlink()
    client = relayed.connect()
    with pytest.raises(OSError):
        client.send(b"hello")
        while client.receive():
            pass

    wait_for(lambda: "does not answer: No such file" in relayed.log, "the relay says so")
    assert relayed.process.poll() is None
