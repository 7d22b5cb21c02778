"""What a build in a container can't do, and what package managers can do nevertheless."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address, ip_network

import pytest

from rapidflow_web.errors import BuildError
from rapidflow_web.executors.docker import privileges
from tests.support import images
from tests.support.builds import Place, engine, inspect
from tests.support.machine import only_root
from tests.support.private_engine import PrivateEngine

CAPABILITIES = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
)  # fmt: skip
"""In the order of their numbers."""

WAYS = """
import socket, sys

def ask(address, port, prepare):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as asked:
        asked.settimeout(2)
        prepare(asked)
        asked.connect((address, port))
        asked.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
        return asked.recv(100).decode().strip()

own = socket.gethostbyname(socket.gethostname())
ways = {
    "plainly": lambda asked: None,
    "from its own address": lambda asked: asked.bind((own, 0)),
    "out of eth0": lambda asked: asked.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0"),
    "without a gateway": lambda asked: asked.setsockopt(socket.SOL_SOCKET, socket.SO_DONTROUTE, 1),
}
for address, port in zip(sys.argv[1::2], sys.argv[2::2]):
    for way, prepare in ways.items():
        try:
            answer = ask(address, int(port), prepare)
        except OSError as error:
            answer = error
        print(f"{address} {way}: {answer}")
"""
"""A program: what servers answer first, by each way in which a build could try to reach them."""

ANSWER = """
import socket, sys

with socket.create_server((sys.argv[1], 0)) as listener:
    print(listener.getsockname()[1], flush=True)
    while True:
        with listener.accept()[0] as connection:
            connection.recv(1000)
            connection.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\n")
"""
"""A program: a server at an address that answers everybody, and says its port."""


async def said(place: Place, step: str, **options: object) -> str:
    """What a build of one step prints."""
    build = await place.begin(place.spec(step, **options))  # pyright: ignore[reportArgumentType]
    await build.exit(1)
    await build.remove()
    return bytes(build.text).decode()


@contextmanager
def answering(address: str) -> Iterator[int]:
    """The port of a server at an address of this machine that answers everybody."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as listener:
        listener.bind((address, 0))
        listener.listen()

        def answer() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection, contextlib.suppress(OSError):
                    # Closed before the request was read, it would be reset and its answer lost.
                    connection.settimeout(5)
                    connection.recv(1000)
                    connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@contextmanager
def address_of_the_machine(address: str) -> Iterator[None]:
    """Gives this machine another address, which only root may."""

    def give(verb: str) -> None:
        prefix = 128 if ":" in address else 32
        subprocess.run(["ip", "address", verb, f"{address}/{prefix}", "dev", "lo", *flags], check=True)

    flags = ["nodad"] if ":" in address else []
    give("add")
    try:
        yield
    finally:
        flags = []
        give("delete")


@contextmanager
def machine_behind(address: str) -> Iterator[int]:
    """The port of a server that answers everybody, at an address to which this machine has a route."""
    name = f"rf{os.getpid()}"

    def ip(arguments: str) -> None:
        subprocess.run(["ip", *arguments.split()], check=True)

    ip(f"netns add {name}")
    try:
        ip(f"link add {name} type veth peer name eth0 netns {name}")
        ip(f"address add 198.18.0.1/30 dev {name}")
        ip(f"link set {name} up")
        ip(f"route add {address}/32 via 198.18.0.2")
        for inside in (
            "address add 198.18.0.2/30 dev eth0", f"address add {address}/32 dev eth0", "link set eth0 up",
            "link set lo up", "route add default via 198.18.0.1",
        ):  # fmt: skip
            ip(f"-n {name} {inside}")
        server = ["ip", "netns", "exec", name, sys.executable, "-c", ANSWER, address]
        with subprocess.Popen(server, stdout=subprocess.PIPE) as process:
            try:
                assert process.stdout is not None
                yield int(process.stdout.readline())
            finally:
                process.kill()
    finally:
        subprocess.run(["ip", "link", "delete", name])
        ip(f"netns delete {name}")


async def test_of_capabilities_a_build_has_those_that_package_managers_need(docker: Place) -> None:
    status = dict(
        line.split(":\t", 1)
        for line in (await said(docker, "cat /proc/self/status")).splitlines()
        if ":\t" in line
    )
    for kind in ("CapEff", "CapPrm", "CapBnd"):
        mask = int(status[kind], 16)
        assert {name for bit, name in enumerate(CAPABILITIES) if mask >> bit & 1} == set(privileges.NEEDED)
        assert mask >> len(CAPABILITIES) == 0
    assert int(status["Seccomp"]) == 2


@pytest.mark.parametrize("allowed", [False, True])
async def test_no_program_gives_more_rights_unless_that_was_allowed(docker: Place, allowed: bool) -> None:
    # Like sudo: a program that belongs to root and runs as its owner.
    step = (
        "cp /bin/bash /tmp/; chmod 4755 /tmp/bash; su builder -s /bin/sh -c '/tmp/bash -pc \"echo \\$EUID\"'"
    )
    text = await said(docker, step, new_privileges=allowed)
    assert text == ("0\n" if allowed else "1234\n")


async def test_a_build_has_neither_the_engine_nor_a_folder_of_the_machine(docker: Place) -> None:
    build = await docker.begin_steps("ls /run/docker.sock /var/run/docker.sock; sleep 1000")
    await build.printed(b"No such file")
    assert (
        inspect(build.running.id, "{{len .Mounts}} {{.HostConfig.Privileged}} {{.HostConfig.PidMode}}")
        == "0 false"
    )


async def test_the_package_manager_of_an_image_works(docker: Place) -> None:
    # The one sets a capability of a file, or else makes it run as root; the other makes a group.
    step = (
        "export DEBIAN_FRONTEND=noninteractive\n"
        "apt-get -qq update\n"
        "apt-get -qq install --no-install-recommends iputils-ping openssh-client >/dev/null\n"
        "test ! -u /usr/bin/ping && getent group _ssh | cut -d: -f1\n"
    )
    assert (await said(docker, step, image=images.DEBIAN)).splitlines()[-1] == "_ssh"


@pytest.mark.parametrize("image", [images.BASH, images.BUSYBOX, images.DEBIAN, images.USER])
async def test_the_name_of_a_build_means_the_one_address_by_which_it_is_reached(
    docker: Place, image: str
) -> None:
    lines = (await said(docker, "hostname -i; hostname; cat /etc/hosts", image=image)).splitlines()
    address, name, *hosts = lines
    assert ip_address(address) in ip_network("172.16.0.0/12")
    assert [line for line in hosts if line.split()[-1] == name] == [f"{address}\t{name}"]
    assert "127.0.0.1\tlocalhost" in hosts


async def test_builds_reach_themselves_and_not_each_other(docker: Place) -> None:
    listen = "while :; do echo heard | nc -l -p 7777; done"
    one = await docker.begin_steps(f"hostname -i; hostname; {listen}")
    await one.until(lambda: one.text.count(b"\n") >= 2, "its address and name")
    address, name = bytes(one.text).decode().split()[:2]
    other = await docker.begin_steps(
        f"({listen}) & sleep 0.5\n"
        f"for at in 127.0.0.1 {address} {name}; do nc -w 3 $at 7777 </dev/null || echo nobody; done"
    )
    assert await other.exit(1) == "0"
    assert [line for line in bytes(other.text).decode().splitlines() if line in ("heard", "nobody")] == [
        "heard", "nobody", "nobody",
    ]  # fmt: skip


@only_root
async def test_the_metadata_of_a_cloud_can_not_be_reached_in_any_way(docker: Place) -> None:
    # Those of clouds, of ECS, of EKS, and of EC2 by IPv6.
    images.ensure(images.DEBIAN)
    with contextlib.ExitStack() as stack:
        targets: list[str] = []
        for address in ("169.254.169.254", "169.254.170.2", "169.254.170.23", "fd00:ec2::254"):
            stack.enter_context(address_of_the_machine(address))
            targets += [address, str(stack.enter_context(answering(address)))]
        step = f"cat >/tmp/ways.py <<'END'\n{WAYS}\nEND\npython3 /tmp/ways.py {' '.join(targets)}"
        # Elsewhere they answer.
        elsewhere = engine("run", "--rm", images.DEBIAN, "sh", "-c", step)
        assert "169.254.169.254 plainly: HTTP/1.0 200 OK" in elsewhere
        assert "169.254.169.254 out of eth0: HTTP/1.0 200 OK" in elsewhere
        tried = (await said(docker, step, image=images.DEBIAN)).splitlines()
    assert len(tried) == 4 * 4
    assert [line for line in tried if "HTTP" in line] == []


@only_root
async def test_link_local_addresses_behind_the_engines_machine_can_not_be_reached(docker: Place) -> None:
    # As on a cloud: its own name server, its clock, the disk that it starts from.
    images.ensure(images.DEBIAN)
    with machine_behind("169.254.169.253") as port:
        step = f"cat >/tmp/ways.py <<'END'\n{WAYS}\nEND\npython3 /tmp/ways.py 169.254.169.253 {port}"
        elsewhere = engine("run", "--rm", images.DEBIAN, "sh", "-c", step)
        assert "169.254.169.253 plainly: HTTP/1.0 200 OK" in elsewhere
        tried = (await said(docker, step, image=images.DEBIAN)).splitlines()
    assert len(tried) == 4
    assert [line for line in tried if "HTTP" in line] == []


async def test_builds_do_not_reach_each_other_by_link_local_addresses(docker: Place) -> None:
    listen = "while :; do echo heard | nc -l -p 7777; done"
    one = await docker.begin_steps(f"ip -o -4 address; echo; {listen}")
    await one.until(lambda: b"\n\n" in one.text, "its addresses")
    found = re.findall(r"inet (169\.254\.[0-9.]+)/", bytes(one.text).decode())
    assert len(found) == 3
    other = await docker.begin_steps(
        f"for at in {' '.join(found)}; do nc -w 3 $at 7777 </dev/null || echo nobody; done"
    )
    assert await other.exit(1) == "0"
    assert bytes(other.text).decode().splitlines().count("nobody") == 3
    assert b"heard" not in other.text


async def test_the_addresses_of_a_cloud_are_refused_as_those_of_builds(docker: Place) -> None:
    # A build that connects from one of its own is a build.
    assert await said(docker, "true") == ""
    assert any(ip_address("169.254.169.254") in one for one in docker.executor.addresses)


async def test_without_a_network_a_build_reaches_nothing(place: Place) -> None:
    spec = place.spec("ls /sys/class/net", network=False)
    if place.name == "process":
        with pytest.raises(BuildError, match=r"says 'network: none', and plain processes can't be kept from"):
            await place.start(spec)
        return
    build = await place.begin(spec)
    assert await build.exit(1) == "0"
    assert bytes(build.text) == b"lo\n"


@pytest.fixture
def own_engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An engine whose networks the test may remove."""
    made = PrivateEngine(live_restore=False)
    try:
        made.load(images.ensure(images.BASH))
        monkeypatch.setenv("DOCKER_HOST", made.host)
        yield
    finally:
        made.close()


@only_root
async def test_a_network_that_was_removed_is_made_again(own_engine: None, docker: Place) -> None:
    assert await said(docker, "echo first") == "first\n"
    engine("network", "rm", "rapidflow-builds")
    assert await said(docker, "echo second") == "second\n"
    assert "rapidflow-builds" in engine("network", "ls", "--format", "{{.Name}}")


@only_root
async def test_from_where_builds_connect_is_known_of_a_network_that_another_server_made_anew(
    own_engine: None, docker: Place
) -> None:
    first = ip_address((await said(docker, "hostname -i")).strip())
    engine("network", "rm", "rapidflow-builds")
    engine("network", "create", "--subnet", "10.77.0.0/24", "rapidflow-builds")
    second = ip_address((await said(docker, "hostname -i")).strip())
    assert second in ip_network("10.77.0.0/24")
    assert all(any(one in known for known in docker.executor.addresses) for one in (first, second))


async def test_builds_can_be_in_a_network_of_the_administrators_choice(docker: Place) -> None:
    docker.executor = docker.another_executor(network="bridge")
    build = await docker.begin_steps("sleep 1000")
    container = build.running.id
    assert inspect(container, "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}") == "bridge"
    (address,) = docker.executor.addresses
    assert ip_address(inspect(container, "{{.NetworkSettings.IPAddress}}")) in address


async def test_a_network_that_the_engine_does_not_have_is_named(docker: Place) -> None:
    docker.executor = docker.another_executor(network="nowhere")
    with pytest.raises(
        BuildError, match="the engine has no network 'nowhere', which RAPIDFLOW_NETWORK names"
    ):
        await docker.start(docker.spec("true"))


async def test_from_where_builds_connect_is_known_before_the_first_of_a_server(docker: Place) -> None:
    assert await said(docker, "echo of an earlier server") == "of an earlier server\n"
    other = docker.another_executor()
    await other.check()
    assert other.addresses == docker.executor.addresses != []
