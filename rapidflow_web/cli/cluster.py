"""The commands on the machines of a swarm. They work on the data folder, as the user of the server."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import click

from rapidflow_web.cli.client import ClientError
from rapidflow_web.terminal import note, out

# What these need is imported where it is used, because that takes a second.
if TYPE_CHECKING:
    from rapidflow_web.executors.cluster.administration import Administration
    from rapidflow_web.executors.cluster.relay_service import Options
    from rapidflow_web.settings import Settings

_PROBLEMS = 1


@click.group
def cluster() -> None:
    """Set up and look at the machines of a swarm (see docs/cluster.md).

    RAPIDFLOW_SWARM names the swarm, RAPIDFLOW_DATA the data folder of the server.
    """


_wait = click.option(
    "--wait", "seconds", type=click.FloatRange(0), default=90, show_default=True, metavar="SECONDS",
    help="How long to wait for the relays at most.",
)  # fmt: skip


@cluster.command
@click.option("--relay-image", metavar="IMAGE", help="The image of the relay; needed the first time.")
@click.option("--port", type=click.IntRange(1, 65535), help="The port of the relays. Default: 2378.")
@click.option(
    "--reserve-cpus", type=click.FloatRange(0, 10_000), metavar="N", help="CPUs of each machine for builds."
)
@click.option("--reserve-memory", metavar="SIZE", help="Memory of each machine for builds, such as 16g.")
@click.option("--constraint", "constraints", multiple=True, metavar="EXPRESSION",
              help="Only these machines, as for 'docker service create': node.role==worker.")  # fmt: skip
@_wait
def init(
    relay_image: str | None,
    port: int | None,
    reserve_cpus: float | None,
    reserve_memory: str | None,
    constraints: tuple[str, ...],
    seconds: float,
) -> int:
    """Start a relay on each machine of the swarm, or change how relays run.

    Run it again to change something: what is not given stays as it is.
    """
    from dataclasses import replace

    memory = _size(reserve_memory)

    def changed(present: Options | None) -> Options:
        from rapidflow_web.executors.cluster.relay_service import Options

        if present is None and relay_image is None:
            raise ClientError(
                "--relay-image is missing: name the image that 'docker build --target relay' made, "
                "which each machine must have or be able to pull"
            )
        options = present or Options(relay_image or "")
        if relay_image is not None:
            options = replace(options, image=relay_image)
        if port is not None:
            options = replace(options, port=port)
        if reserve_cpus is not None:
            options = replace(options, cpus=reserve_cpus)
        if memory is not None:
            options = replace(options, memory=memory)
        if constraints:
            options = replace(options, constraints=constraints)
        return options

    async def work(administration: Administration) -> int:
        options = changed(await administration.options())
        behind = await administration.set_up(options, seconds, note)
        if behind:
            return _say_behind(behind, "the relay does not run on all machines")
        out("all relays run; 'rapidflow cluster status' shows them")
        return 0

    return _run(work)


@cluster.command
def status() -> int:
    """List the machines with their slots, and what is wrong with each."""

    async def work(administration: Administration) -> int:
        seen, problems = await administration.look()
        width = max((len(one.node.name) for one in seen), default=0)
        for one in seen:
            slots = "no number of" if one.node.slots is None else str(one.node.slots)
            shown = f"{one.node.name:<{width}}  {one.state:<9}  {one.node.address}"
            out(f"{shown}  {slots} slot{'' if slots == '1' else 's'}  Docker {one.version}")
        problems += [f"{one.node.name} {one.problem}" for one in seen if one.problem]
        for problem in problems:
            out(problem)
        return _PROBLEMS if problems else 0

    return _run(work)


@cluster.command
@_wait
def rotate(seconds: float) -> int:
    """Replace the keys of server and relays, while builds go on.

    Connections that the old keys opened are ended; builds go on over new ones.

    If it is cut short, run it again: it goes on where it was.
    """

    async def work(administration: Administration) -> int:
        if behind := await administration.rotate(seconds, note):
            return _say_behind(behind, "the old keys can still be used; mend this and run the command again")
        out("server and relays have new keys; the old ones open nothing any more")
        return 0

    return _run(work)


@cluster.command
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove(yes: bool) -> int:
    """Remove relays, swarm secrets and keys. Builds on the machines are lost."""
    if not yes and not click.confirm("Builds on the machines of the swarm are lost. Remove the relays?"):
        return _PROBLEMS

    async def work(administration: Administration) -> int:
        await administration.remove()
        out("relays, secrets and keys are removed")
        return 0

    return _run(work)


def _say_behind(behind: list[str], what: str) -> int:
    for line in behind:
        out(line)
    note(what)
    return _PROBLEMS


def _size(text: str | None) -> int | None:
    from rapidflow_web.pipeline.limits import parse_size

    try:
        return None if text is None else 0 if text == "0" else parse_size(text)
    except ValueError as error:
        raise ClientError(f"--reserve-memory is {text!r}: {error}") from None


def _run(work: Callable[[Administration], Awaitable[int]]) -> int:
    from rapidflow_web.settings import from_environment

    settings = from_environment(os.environ)
    if not settings.swarm:
        raise ClientError(
            "RAPIDFLOW_SWARM is not set: name the engine of a manager of the swarm, "
            "such as unix:///var/run/docker.sock on its machine"
        )
    return asyncio.run(_with(settings, work))


async def _with(settings: Settings, work: Callable[[Administration], Awaitable[int]]) -> int:
    from rapidflow_web.data_folder import DataFolder, check_user
    from rapidflow_web.executors.cluster.administration import Administration
    from rapidflow_web.executors.cluster.certificates import Keys
    from rapidflow_web.executors.cluster.manager import Manager
    from rapidflow_web.executors.cluster.swarm import SwarmInventory

    check_user(settings.data, "rapidflow cluster")
    installation = DataFolder(settings.data).installation()
    manager = Manager(settings.swarm, installation)
    inventory = SwarmInventory(manager, installation, settings.data)
    try:
        return await work(Administration(manager, inventory, Keys(settings.data), installation))
    finally:
        await inventory.close()
