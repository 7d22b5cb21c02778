"""The machines of a real swarm: what is known of each, and what `rapidflow cluster` does."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path

import aiodocker
import pytest

from rapidflow_web.errors import EngineUnavailable
from rapidflow_web.executors.cluster.certificates import Keys
from rapidflow_web.executors.cluster.inventory import Node
from rapidflow_web.executors.cluster.manager import Manager
from rapidflow_web.executors.cluster.swarm import SwarmInventory
from rapidflow_web.executors.docker.attachment import attach
from tests.support import images
from tests.support.certificates import make_engine_keys
from tests.support.clusters import Cluster, engine_of
from tests.support.machine import only_root
from tests.support.server import Server, wait_for
from tests.support.swarm import Node as Machine

pytestmark = only_root


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("cluster"), 2, "--reserve-cpus", "1", "--reserve-memory", "100m")
    yield made
    made.close()


@pytest.fixture
async def inventory(cluster: Cluster) -> AsyncIterator[SwarmInventory]:
    made = cluster.inventory()
    yield made
    await made.close()


async def _until(inventory: SwarmInventory, condition: Callable[[Sequence[Node]], bool]) -> Sequence[Node]:
    """The machines, once they are as they should be."""
    nodes: Sequence[Node] = []
    for _ in range(300):
        nodes = await inventory.nodes()
        if condition(nodes):
            return nodes
        await asyncio.sleep(0.2)
    raise AssertionError(f"in vain: {nodes}")


def _all_well(nodes: Sequence[Node]) -> bool:
    return all(node.problem is None for node in nodes)


def _second(problem: str | None) -> Callable[[Sequence[Node]], bool]:
    return lambda nodes: nodes[1].problem == problem


# What can't be used


def test_worker_is_refused(cluster: Cluster) -> None:
    done = cluster.run("status", RAPIDFLOW_SWARM=cluster.swarm.nodes[1].host)

    assert done.returncode == 2
    assert "is a worker of its swarm; set RAPIDFLOW_SWARM to the engine of a manager" in done.stderr


def test_first_init_needs_an_image(cluster: Cluster, new_server: Callable[..., Server]) -> None:
    server = new_server(swarm=cluster.swarm.manager.host)

    assert "run 'rapidflow cluster init'" in server.command("cluster", "status").stderr
    assert "--relay-image is missing" in server.command("cluster", "init").stderr


def test_port_of_another_installation_is_refused(cluster: Cluster, new_server: Callable[..., Server]) -> None:
    server = new_server(swarm=cluster.swarm.manager.host)
    done = server.command("cluster", "init", "--relay-image", images.RELAY)

    assert done.returncode == 2
    assert (
        f"port 2378 is that of the relays of another installation, the service {cluster.relay_name}: "
        "choose another port by 'rapidflow cluster init --port'"
    ) in done.stderr
    assert len(cluster.swarm.manager.docker("service", "ls", "--quiet").stdout.split()) == 2


# What is known


def test_status_lists_machines_with_slots_and_versions(cluster: Cluster) -> None:
    lines = cluster.did("status").splitlines()

    assert len(lines) == 2
    for line, node in zip(lines, cluster.swarm.nodes, strict=True):
        assert re.fullmatch(
            rf"{node.name}  ready      tcp://{node.address}:2378  1 slot  Docker [\d.]+\S*", line
        )


async def test_labels_of_node_and_engine_are_known(cluster: Cluster, inventory: SwarmInventory) -> None:
    node = cluster.swarm.nodes[1]
    cluster.swarm.update(node, "--label-add", "gpu=yes", "--label-add", "rapidflow.slots=7")
    nodes = await _until(inventory, lambda nodes: nodes[1].slots == 7)
    assert nodes[1].labels["gpu"] == "yes"
    assert (nodes[0].slots, "gpu" in nodes[0].labels) == (1, False)

    cluster.swarm.update(node, "--label-add", "rapidflow.slots=many")
    nodes = await _until(inventory, lambda nodes: nodes[1].slots == 1)
    done = cluster.run("status")
    assert done.returncode == 1
    assert "node2 has the label rapidflow.slots='many', which is no number from 0 to 1000" in done.stdout
    cluster.swarm.update(node, "--label-rm", "rapidflow.slots", "--label-rm", "gpu")


async def test_pause_and_drain_are_known(cluster: Cluster, inventory: SwarmInventory) -> None:
    node = cluster.swarm.nodes[1]
    for availability, problem in (("pause", "is paused"), ("drain", "is drained"), ("active", None)):
        cluster.swarm.update(node, "--availability", availability)
        await _until(inventory, _second(problem))
        assert cluster.run("status").returncode == 0 or availability == "active"


async def test_machine_that_joins_lacks_the_image_until_it_has_it(
    cluster: Cluster, inventory: SwarmInventory
) -> None:
    swarm = cluster.swarm
    swarm._images = []
    node = swarm.add()
    nodes = await _until(inventory, lambda nodes: len(nodes) == 3 and "image" in (nodes[2].problem or ""))
    assert re.match(
        r"has no relay that runs: the image sha256:\w+ is not there: push it", nodes[2].problem or ""
    )
    done = cluster.run("status")
    assert done.returncode == 1
    assert f"{node.name} has no relay that runs: the image" in done.stdout

    node.load(images.RELAY)
    nodes = await _until(inventory, lambda nodes: nodes[2].problem is None)
    async with engine_of(nodes[2]) as engine:
        assert (await engine.system.info())["Name"] == node.name

    node.docker("swarm", "leave")
    await _until(inventory, lambda nodes: nodes[2].problem == "is down")
    swarm.manager.docker("node", "rm", "--force", node.name)
    await _until(inventory, lambda nodes: len(nodes) == 2)
    swarm.nodes.remove(node)
    node.remove()


# The relay


def test_relay_has_no_rights_and_no_shell(cluster: Cluster) -> None:
    for node in cluster.swarm.nodes:
        (relay,) = cluster.relays(node)
        config = "{{.HostConfig.CapDrop}} {{.HostConfig.ReadonlyRootfs}} {{.Config.User}}"
        assert node.docker("inspect", "--format", config, relay).stdout.strip() == "[ALL] true 0:0"
        status = node.docker(
            "exec", relay, "/bin/python3", "-c", "print(open('/proc/1/status').read())"
        ).stdout
        assert set(re.findall(r"^Cap(?:Eff|Prm|Bnd):\t(\w+)", status, re.MULTILINE)) == {"0" * 16}
        assert node.docker("exec", relay, "/bin/sh", "-c", "true", check=False).returncode != 0
        size = int(node.docker("image", "inspect", "--format", "{{.Size}}", images.RELAY).stdout)
        assert size < 25_000_000


def test_share_of_builds_is_kept_from_other_services(cluster: Cluster) -> None:
    manager = cluster.swarm.manager
    cpus = len(os.sched_getaffinity(0))
    create = ("service", "create", "--detach", "--name", "greedy", "--no-resolve-image", "--mode", "global")
    # All of each machine, of which builds have one.
    manager.docker(*create, "--reserve-cpu", str(cpus), images.BASH, "sleep", "1000")
    try:
        listed = ("service", "ps", "--format", "{{.CurrentState}} {{.Error}}", "greedy")
        wait_for(lambda: "insufficient resources" in manager.docker(*listed).stdout, "it finds no room")
        assert "Running" not in manager.docker(*listed).stdout
    finally:
        manager.docker("service", "rm", "greedy")


async def test_relay_that_is_killed_is_started_again(cluster: Cluster, inventory: SwarmInventory) -> None:
    node = cluster.swarm.nodes[1]
    (relay,) = cluster.relays(node)
    node.docker("kill", relay)

    wait_for(lambda: cluster.relays(node) not in ([], [relay]), "another relay runs", 60)
    await _until(inventory, _all_well)


async def test_drained_machine_serves_on_until_nobody_is_connected(
    cluster: Cluster, inventory: SwarmInventory
) -> None:
    node = cluster.swarm.nodes[1]
    before = (await _until(inventory, _all_well))[1]
    async with engine_of(before) as engine, _printing(engine, node) as lines:
        await lines(3)
        cluster.swarm.update(node, "--availability", "drain")
        await _until(inventory, _second("is drained"))
        await lines(5)
        await asyncio.sleep(6)
        # As whoever stops a build does.
        async with engine_of(before) as other:
            assert (await other.system.info())["Name"] == node.name
        await lines(5)
        assert cluster.relays(node)
    wait_for(lambda: not cluster.relays(node), "the relay has ended", 60)

    cluster.swarm.update(node, "--availability", "active")
    await _until(inventory, _all_well)


async def test_update_goes_unnoticed(cluster: Cluster, inventory: SwarmInventory) -> None:
    node = cluster.swarm.nodes[1]
    (relay,) = cluster.relays(node)
    async with engine_of((await inventory.nodes())[1]) as engine, _printing(engine, node) as lines:
        await lines(3)
        cluster.swarm.manager.docker("service", "update", "--force", "--detach=false", cluster.relay_name)
        await lines(3)
        assert relay in cluster.relays(node)
        async with engine_of((await inventory.nodes())[1]) as other:
            assert (await other.system.info())["Name"] == node.name
        await lines(3)
    wait_for(lambda: relay not in cluster.relays(node), "the old relay has ended", 60)


async def test_keys_are_replaced_while_builds_go_on(cluster: Cluster, inventory: SwarmInventory) -> None:
    node = cluster.swarm.nodes[1]
    old = (await _until(inventory, _all_well))[1]
    async with engine_of(old) as engine, _printing(engine, node) as lines:
        await lines(3)
        assert "the old ones open nothing any more" in await asyncio.to_thread(cluster.did, "rotate")
        # The connections that they had opened are ended, too; builds attach again.
        with pytest.raises(AssertionError, match="the stream has ended"):
            while True:
                await lines(1)
        new = (await inventory.nodes())[1]
        assert new.certificates != old.certificates
        async with engine_of(new) as other:
            assert (await other.system.info())["Name"] == "node2"
        # Its context has them in memory still; the files are gone.
        async with engine_of_old(engine) as refused:
            with pytest.raises((aiodocker.DockerError, OSError)):
                await refused.system.info()
    listed = cluster.swarm.manager.docker("secret", "ls", "--quiet").stdout.split()
    assert len(listed) == 3


def engine_of_old(engine: aiodocker.Docker) -> aiodocker.Docker:
    """A new connection with the keys of an open one."""
    context = engine.connector._ssl  # type: ignore[attr-defined]
    return aiodocker.Docker(engine.docker_host, ssl_context=context)


def test_manager_is_asked_over_tls(cluster: Cluster, tmp_path: Path) -> None:
    address, keys = cluster.swarm.manager.over_tls, str(cluster.swarm.keys)
    done = cluster.run("status", RAPIDFLOW_SWARM=address, DOCKER_CERT_PATH=keys)
    assert (done.returncode, done.stdout.count("  ready ")) == (0, 2), done.stdout + done.stderr

    done = cluster.run("status", RAPIDFLOW_SWARM=address)
    assert done.returncode == 2
    assert "whoever reaches an engine without TLS is root on its machine: set DOCKER_CERT_PATH" in done.stderr

    make_engine_keys(tmp_path / "foreign", [])
    done = cluster.run("status", RAPIDFLOW_SWARM=address, DOCKER_CERT_PATH=str(tmp_path / "foreign"))
    assert done.returncode != 0
    assert "certificate verify failed" in done.stderr
    assert "Traceback" not in done.stderr


async def test_paused_machine_holds_up_a_change_of_keys(cluster: Cluster, inventory: SwarmInventory) -> None:
    node = cluster.swarm.nodes[1]
    cluster.swarm.update(node, "--availability", "pause")
    await _until(inventory, _second("is paused"))
    done = await asyncio.to_thread(cluster.run, "rotate", "--wait", "8")

    assert done.returncode == 1
    assert "node2: it is paused, and an older relay still serves its builds" in done.stdout
    assert "the old keys can still be used" in done.stderr
    async with engine_of((await inventory.nodes())[1]) as engine:
        assert (await engine.system.info())["Name"] == "node2"
    cluster.swarm.update(node, "--availability", "active")
    done = await asyncio.to_thread(cluster.run, "status")
    assert "a change of keys was cut short; run 'rapidflow cluster rotate' again" in done.stdout
    await asyncio.to_thread(cluster.did, "rotate")
    await _until(inventory, _all_well)
    assert (await asyncio.to_thread(cluster.run, "status")).returncode == 0


def test_port_of_another_program_is_named(cluster: Cluster) -> None:
    node = cluster.swarm.nodes[1]
    program = "import socket, time; s = socket.create_server(('', 2400)); time.sleep(1000)"
    node.run("sh", "-c", f'python3 -c "{program}" >/dev/null 2>&1 </dev/null &')
    wait_for(lambda: ":0960 " in node.run("cat", "/proc/net/tcp").stdout, "the port is taken")
    done = cluster.run("init", "--port", "2400", "--wait", "12")

    assert done.returncode == 1
    assert "node2: another program listens at port 2400; end it, or choose another port" in done.stdout
    cluster.did("init", "--port", "2378")
    node.run("pkill", "-f", "create_server")
    assert "tcp://10." in cluster.did("status")


def test_keys_that_do_not_fit_are_told_from_a_closed_port(cluster: Cluster, tmp_path: Path) -> None:
    keys, others = Keys(cluster.server.data), Keys(tmp_path)
    own = keys.certificates(keys.make())
    foreign = others.certificates(others.make())
    before = own.certificate.read_bytes(), own.key.read_bytes()
    try:
        own.certificate.write_bytes(foreign.certificate.read_bytes())
        own.key.write_bytes(foreign.key.read_bytes())
        said = cluster.run("status").stdout
        assert "server and relay refuse each other's keys: compare the clocks of both" in said
        own.key.unlink()
        said = cluster.run("status").stdout
        assert "can't be used: No such file or directory; put its keys back, or make new ones by" in said
    finally:
        own.certificate.write_bytes(before[0])
        own.key.write_bytes(before[1])
    cluster.did("status")


# Machines that are away; these come last, because the machines restart


async def test_machine_without_power_is_down(cluster: Cluster, inventory: SwarmInventory) -> None:
    node = cluster.swarm.nodes[1]
    node.switch_off()
    await _until(inventory, _second("is down"))
    done = cluster.run("status")
    assert done.returncode == 1
    assert "node2 is down: the swarm hears nothing from its engine" in done.stdout
    done = await asyncio.to_thread(cluster.run, "rotate", "--wait", "1")
    assert done.returncode == 1
    assert "node2: it is down, and may come back with an older relay; start it, or remove it" in done.stdout
    assert "the old keys can still be used" in done.stderr

    node.switch_on()
    await _until(inventory, _all_well)
    await asyncio.to_thread(cluster.did, "rotate")
    await _until(inventory, _all_well)


async def test_manager_that_is_down_leaves_the_machines_known(
    cluster: Cluster, inventory: SwarmInventory
) -> None:
    before = await _until(inventory, _all_well)
    cluster.swarm.manager.kill()
    try:
        begin = time.monotonic()
        assert await inventory.nodes() == before
        assert time.monotonic() - begin < 5
        # A server that starts.
        other = cluster.inventory()
        assert await other.nodes() == before
        await _until(other, lambda _: other.warning is not None)
        await other.close()
        async with engine_of(before[1]) as engine:
            assert (await engine.system.info())["Name"] == "node2"
    finally:
        cluster.swarm.manager.start()
    await _until(inventory, lambda nodes: inventory.warning is None and _all_well(nodes))


async def test_without_a_manager_nothing_is_known_at_first(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("data")
    Keys(folder).make()
    inventory = SwarmInventory(Manager("unix:///nothing.sock", "a" * 32), "a" * 32, folder)
    with pytest.raises(EngineUnavailable, match="can't be asked"):
        await inventory.nodes()
    await inventory.close()


def test_remove_leaves_nothing(cluster: Cluster) -> None:
    cluster.did("remove", "--yes")

    manager = cluster.swarm.manager
    assert manager.docker("service", "ls", "--quiet").stdout == ""
    assert manager.docker("secret", "ls", "--quiet").stdout == ""
    assert not (cluster.server.data / "cluster").exists()


@contextlib.asynccontextmanager
async def _printing(
    engine: aiodocker.Docker, node: Machine
) -> AsyncIterator[Callable[[int], Awaitable[None]]]:
    """A container that prints numbers; gives what waits for so many more of them, and none may be missing."""
    script = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done"
    container = await engine.containers.create(
        {"Image": images.BASH, "Cmd": ["sh", "-c", script], "OpenStdin": True, "AttachStdout": True,
         "HostConfig": {"NetworkMode": "none", "LogConfig": {"Type": "none"}}}
    )  # fmt: skip
    attachment = await attach(engine, container.id)
    await container.start()
    received = b""

    async def lines(count: int) -> None:
        nonlocal received
        wanted = received.count(b"\n") + count
        async with asyncio.timeout(30):
            while received.count(b"\n") < wanted:
                data = await attachment.read()
                assert data, "the stream has ended"
                received += data
        numbers = [int(line) for line in received.splitlines()]
        assert numbers == list(range(1, len(numbers) + 1))

    try:
        yield lines
    finally:
        attachment.close()
        # Not by the engine, whose keys may be old by now.
        await asyncio.to_thread(node.docker, "rm", "--force", container.id)
