"""A server's data folder and a swarm, whose relays the server's own commands have set up."""

from __future__ import annotations

import subprocess
from pathlib import Path

import aiodocker
import aiohttp

from rapidflow_web.data_folder import DataFolder
from rapidflow_web.executors.cluster.inventory import Node
from rapidflow_web.executors.cluster.manager import Manager
from rapidflow_web.executors.cluster.swarm import SwarmInventory
from rapidflow_web.executors.cluster.tls import context_of
from tests.support import engine_api, images, swarm
from tests.support.server import Server


class Cluster:
    """`server` is not started. `swarm` has `count` machines with a relay each, and the images of builds."""

    def __init__(self, folder: Path, count: int, *options: str, **settings: str) -> None:
        self.server: Server = None  # type: ignore[assignment]
        self.swarm = swarm.Swarm(count, [images.ensure(images.BASH), images.relay()])
        try:
            self.server = Server(
                folder / "data", swarm=self.swarm.manager.host, default_image=images.BASH, **settings
            )
            self.did("init", "--relay-image", images.RELAY, *options)
        except BaseException:
            self.close()
            raise

    @property
    def installation(self) -> str:
        return DataFolder(self.server.data).installation()

    @property
    def relay_name(self) -> str:
        """The name of the relays' service."""
        return f"rapidflow-relay-{self.installation[:8]}"

    def run(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """`rapidflow cluster`."""
        return self.server.command("cluster", *arguments, more=more)

    def did(self, *arguments: str) -> str:
        """What a command prints, and it must succeed."""
        done = self.run(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def inventory(self) -> SwarmInventory:
        """As a server that starts has it."""
        manager = Manager(self.swarm.manager.host, self.installation)
        return SwarmInventory(manager, self.installation, self.server.data)

    def relays(self, node: swarm.Node) -> list[str]:
        """Ids of containers of relays that run on a machine."""
        return engine_api.ids(node.host, all=False, name=self.relay_name)

    def close(self) -> None:
        """Ends the server, if it runs, and all machines."""
        if self.server is not None and self.server.process is not None:
            self.server.kill()
        self.swarm.close()


def engine_of(node: Node) -> aiodocker.Docker:
    """A client of a machine's engine, through its relay."""
    assert node.certificates is not None
    return aiodocker.Docker(
        node.address.replace("tcp://", "https://"),
        timeout=aiohttp.ClientTimeout(total=60),
        ssl_context=context_of(node.certificates),
    )
