"""What a build in a container can't do, and what package managers can do nevertheless."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address

import pytest

from rapidflow_web.errors import BuildError
from rapidflow_web.executors.docker import privileges
from tests.support import images
from tests.support.builds import Place, engine, inspect
from tests.support.machine import only_root

CAPABILITIES = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
)  # fmt: skip
"""In the order of their numbers."""

ASK = """
ask() {
  timeout 5 bash -c 'exec 3<>/dev/tcp/$0/$1 && printf "GET / HTTP/1.0\\n\\n" >&3 && head -n 1 <&3' $1 $2
}
"""
"""A function of a shell: what a server answers first."""


async def said(place: Place, step: str, **options: object) -> str:
    """What a build of one step prints."""
    build = await place.begin(place.spec(step, **options))  # pyright: ignore[reportArgumentType]
    await build.exit(1)
    await build.remove()
    return bytes(build.text).decode()


@contextmanager
def answering(address: str) -> Iterator[int]:
    """The port of a server at an address of this machine that answers everybody."""
    with socket.socket() as listener:
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


@pytest.mark.parametrize("image", [images.BASH, images.BUSYBOX, images.DEBIAN])
async def test_the_name_of_a_build_means_the_one_address_by_which_it_is_reached(
    docker: Place, image: str
) -> None:
    step = "hostname -i; cat /etc/hosts"
    lines = (await said(docker, step, image=image)).splitlines()
    address, *more = lines[0].split()
    assert not more
    assert not address.startswith("169.254.")
    assert [line for line in lines[1:] if line.startswith("169.254.")] == []
    assert "127.0.0.1\tlocalhost" in lines


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
async def test_the_metadata_of_a_cloud_can_not_be_reached(docker: Place) -> None:
    images.ensure(images.BASH)
    address = "169.254.169.254"

    def give(verb: str) -> None:
        subprocess.run(["ip", "address", verb, f"{address}/32", "dev", "lo"], check=True)

    give("add")
    try:
        with answering(address) as port:
            ask = f"{ASK}ask {address} {port} 2>/dev/null || echo no answer"
            # Elsewhere it would answer.
            assert engine("run", "--rm", images.BASH, "sh", "-c", ask) == "HTTP/1.0 200 OK"
            assert (await said(docker, ask)).splitlines()[-1] == "no answer"
    finally:
        give("delete")


async def test_without_a_network_a_build_reaches_nothing(place: Place) -> None:
    spec = place.spec("ls /sys/class/net", network=False)
    if place.name == "process":
        with pytest.raises(BuildError, match=r"says 'network: none', and plain processes can't be kept from"):
            await place.start(spec)
        return
    build = await place.begin(spec)
    assert await build.exit(1) == "0"
    assert bytes(build.text) == b"lo\n"


async def test_networks_that_were_removed_are_made_again(docker: Place) -> None:
    assert await said(docker, "echo first") == "first\n"
    with contextlib.suppress(subprocess.CalledProcessError):  # a build of another test may be in it
        engine("network", "rm", "rapidflow-link-local")
    assert await said(docker, "echo second") == "second\n"
    assert "rapidflow-link-local" in engine("network", "ls", "--format", "{{.Name}}")


async def test_builds_can_be_in_a_network_of_the_administrators_choice(docker: Place) -> None:
    docker.executor = docker.another_executor(network="bridge")
    build = await docker.begin_steps("sleep 1000")
    sandbox = inspect(build.running.id, "{{.HostConfig.NetworkMode}}").removeprefix("container:")
    assert inspect(sandbox, "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}") == "bridge"
    (address,) = docker.executor.addresses
    assert ip_address(inspect(sandbox, "{{.NetworkSettings.IPAddress}}")) in address


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
