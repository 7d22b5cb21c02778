"""Machines on this machine: real Docker engines in namespaces of their own, joined as one real swarm.

A node is a process that holds its namespaces, so that all of it ends with that one: the engine, its
containers, its mounts. A bridge in a namespace of its own joins the nodes and this machine. Nodes have the
addresses 10.77.N.11 and up, with a number N for each swarm that tests have at a time.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from tests.support import engine_api
from tests.support.certificates import make_engine_keys
from tests.support.server import wait_for

_CGROUPS = Path("/sys/fs/cgroup")
_NETWORKS = Path("/run/netns")
_HOLD = (
    "hostname {name}; mount -t tmpfs tmpfs /run; sysctl -qw net.ipv4.ip_forward=1; "
    "while :; do sleep 100; done"
)
_SOCKET = "/run/docker.sock"
_MOST_NODES = 5


class Node:
    """A machine with an engine. `address` is its own in the network of the swarm."""

    def __init__(self, swarm: Swarm, number: int) -> None:
        self.name = f"node{number}"
        self.address = f"{swarm.network}.{10 + number}"
        self.label = f"{swarm.label}-n{number}"
        self._swarm = swarm
        self._folder = swarm.folder / self.name
        self._folder.mkdir()
        self.socket = self._folder / "engine.sock"
        self.host = f"unix://{self.socket}"
        self.over_tls = f"tcp://{self.address}:2376"
        """The engine for whoever has the keys of the swarm's clients."""
        self._holder: subprocess.Popen[bytes] | None = None
        self._engine: subprocess.Popen[bytes] | None = None
        swarm.plug_in(self.label, self.address)
        self.switch_on()

    def switch_on(self) -> None:
        """Starts the machine and its engine."""
        with (self._folder / "log").open("ab") as log:
            self._holder = subprocess.Popen(
                ["nsenter", f"--net={_NETWORKS / self.label}",
                 "unshare", "--uts", "--ipc", "--mount", "--propagation", "private",
                 "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", _HOLD.format(name=self.name)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        wait_for(lambda: self.run("hostname").stdout.strip() == self.name, f"{self.name} is switched on")
        # The last of what it begins with.
        wait_for(lambda: self.run("pgrep", "-x", "sleep").stdout.strip(), f"{self.name} is ready")
        self.start()

    def switch_off(self) -> None:
        """Pulls the plug."""
        assert self._holder is not None
        self._holder.kill()
        self._holder.wait()
        if self._engine is not None:
            self._engine.wait()

    def start(self) -> None:
        """Starts the engine and waits until it answers."""
        self.run("sh", "-c", "rm -f /run/docker.pid /run/docker/containerd/containerd.pid")
        with (self._folder / "log").open("ab") as log:
            self._engine = subprocess.Popen(
                self._inside("dockerd", "--data-root", str(self._folder / "data"), "--host", f"unix://{_SOCKET}",
                             "--host", self.host, *self._over_tls(),
                             "--exec-opt", "native.cgroupdriver=cgroupfs",
                             "--cgroup-parent", f"/{self.label}"),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        wait_for(
            lambda: engine_api.answers(self.host),
            f"the engine of {self.name} answers",
            60,
        )

    def _over_tls(self) -> list[str]:
        keys = self._swarm.keys
        return ["--host", self.over_tls, "--tlsverify", "--tlscacert", str(keys / "ca.pem"),
                "--tlscert", str(keys / f"{self.address}.pem"),
                "--tlskey", str(keys / f"{self.address}-key.pem")]  # fmt: skip

    def stop(self) -> None:
        """Ends the engine as its service manager would."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """kill -9 of the engine alone."""
        self._end(signal.SIGKILL)

    def docker(self, *arguments: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        """Runs the docker command on its engine."""
        done = subprocess.run(
            ["docker", *arguments],
            env={**os.environ, "DOCKER_HOST": self.host},
            capture_output=True, text=True, **options,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stderr
        return done

    def load(self, *images: str) -> None:
        """Copies images of this machine's engine, with their ids, which `docker import` would change."""
        with subprocess.Popen(["docker", "save", *images], stdout=subprocess.PIPE) as saved:
            self.docker("load", stdin=saved.stdout)

    def containers(self, label: str = "") -> list[str]:
        """Ids of all containers with a label, running or not."""
        return engine_api.ids(self.host, label=label)

    def link(self, *, up: bool) -> None:
        """Plugs in the cable, or pulls it."""
        self._swarm.hub("ip", "link", "set", f"p-{self.label}"[:15], "up" if up else "down")

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Runs a command on the machine."""
        return subprocess.run(self._inside(*command), capture_output=True, text=True)

    @property
    def log(self) -> str:
        """What the engine has said."""
        return (self._folder / "log").read_text(errors="replace")

    def _inside(self, *command: str) -> list[str]:
        assert self._holder is not None
        children = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children").read_text().split()
        target = children[0] if children else "0"
        return ["nsenter", "--target", target, "--net", "--uts", "--ipc", "--mount", "--pid", "--", *command]

    def _end(self, number: signal.Signals) -> None:
        assert self._engine is not None
        # nsenter has a child in the namespace of processes, which is the engine.
        children = Path(f"/proc/{self._engine.pid}/task/{self._engine.pid}/children").read_text().split()
        for child in children:
            os.kill(int(child), number)
        self._engine.wait(timeout=60)

    def remove(self) -> None:
        """Ends all of it."""
        with contextlib.suppress(ProcessLookupError, AssertionError):
            self.switch_off()
        _remove_cgroups(self.label)


class Swarm:
    """`nodes` of which the first is the manager, each with `images`."""

    def __init__(self, count: int, images: Sequence[str] = ()) -> None:
        self._lock, number = _number()
        self.label = f"rfs{number}"
        self.network = f"10.77.{number}"
        _clear_away(self.label)
        self.folder = Path(tempfile.mkdtemp(prefix=f"{self.label}-"))
        self.keys = self.folder / "keys"
        """What clients of the engines need over TLS."""
        make_engine_keys(self.keys, [f"{self.network}.{10 + node}" for node in range(1, _MOST_NODES + 1)])
        self._images = images
        self.nodes: list[Node] = []
        try:
            self._build_network()
            for _ in range(count):
                self.add()
        except BaseException:
            self.close()
            raise

    @property
    def manager(self) -> Node:
        return self.nodes[0]

    def add(self) -> Node:
        """One more machine, which joins the swarm."""
        node = Node(self, len(self.nodes) + 1)
        self.nodes.append(node)
        if self._images:
            node.load(*self._images)
        self.join(node)
        return node

    def join(self, node: Node) -> None:
        """Makes a machine part of the swarm; the first machine makes the swarm."""
        if node is self.manager:
            node.docker(
                "swarm", "init", "--advertise-addr", node.address, "--default-addr-pool", "10.55.0.0/16"
            )
        else:
            token = self.manager.docker("swarm", "join-token", "--quiet", "worker").stdout.strip()
            node.docker(
                "swarm",
                "join",
                "--token",
                token,
                "--advertise-addr",
                node.address,
                f"{self.manager.address}:2377",
            )

    def id_of(self, node: Node) -> str:
        """The swarm's id of a machine."""
        return engine_api.ask("GET", "/info", node.host)[1]["Swarm"]["NodeID"]

    def update(self, node: Node, *options: str) -> None:
        """`docker node update` with some options."""
        self.manager.docker("node", "update", *options, self.id_of(node))

    def hub(self, *command: str) -> None:
        """Runs a command where the cables of all machines end."""
        subprocess.run(["nsenter", f"--net={_NETWORKS / self.label}-hub", *command], check=True)

    def plug_in(self, namespace: str, address: str) -> None:
        """Gives a new network namespace a cable to the others, and an address."""
        cable = f"p-{namespace}"[:15]
        _ip("netns", "add", namespace)
        self.hub("ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        self.hub("ip", "link", "set", cable, "master", "br0", "up")
        for command in ("link set lo up", f"addr add {address}/24 dev eth0", "link set eth0 up",
                        f"route add default via {self.network}.1"):  # fmt: skip
            _ip("-netns", namespace, *command.split())

    def close(self) -> None:
        """Ends all machines and removes what they had."""
        for node in self.nodes:
            node.remove()
        _clear_away(self.label)
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.close()

    def _build_network(self) -> None:
        hub = f"{self.label}-hub"
        _ip("netns", "add", hub)
        self.hub("ip", "link", "set", "lo", "up")
        self.hub("ip", "link", "add", "br0", "type", "bridge")
        self.hub("ip", "link", "set", "br0", "up")
        # The way of this machine to the others.
        self.hub(
            "ip",
            "link",
            "add",
            "p-here",
            "type",
            "veth",
            "peer",
            "name",
            self.label,
            "netns",
            str(os.getpid()),
        )
        self.hub("ip", "link", "set", "p-here", "master", "br0", "up")
        _ip("addr", "add", f"{self.network}.1/24", "dev", self.label)
        _ip("link", "set", self.label, "up")


def _number() -> tuple[IO[str], int]:
    """A number that no other swarm has, as long as the lock is open."""
    for number in range(1, 200):
        lock = (Path(tempfile.gettempdir()) / f"rapidflow-swarm-{number}.lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
        else:
            return lock, number
    raise AssertionError("too many swarms at a time")


def _clear_away(label: str) -> None:
    """Ends what a swarm of this number has left, also one whose tests were killed."""
    # First: the namespace of its other end takes it along, but only some time later.
    subprocess.run(["ip", "link", "delete", label], capture_output=True)
    for namespace in sorted(_NETWORKS.glob(f"{label}-*")):
        listed = subprocess.run(["ip", "netns", "pids", namespace.name], capture_output=True, text=True)
        for process in listed.stdout.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(process), signal.SIGKILL)
        _ip("netns", "delete", namespace.name)
    for number in range(1, 10):
        _remove_cgroups(f"{label}-n{number}")
    for folder in Path(tempfile.gettempdir()).glob(f"{label}-*"):
        shutil.rmtree(folder, ignore_errors=True)


def _remove_cgroups(label: str) -> None:
    for folder in (*_CGROUPS.glob(f"*/{label}"), _CGROUPS / label):
        if folder.is_dir():
            subprocess.run(
                ["find", folder, "-depth", "-type", "d", "-exec", "rmdir", "{}", ";"], capture_output=True
            )


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
