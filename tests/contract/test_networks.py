"""The network of builds on an engine that has none yet, or several."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import aiodocker
import pytest

from rapidflow_web.executors.docker.networks import CLOSED, Networks
from tests.support.private_engine import PrivateEngine

_NAME = "rapidflow-builds"


@pytest.fixture(scope="module")
def new_engine() -> Iterator[PrivateEngine]:
    """An engine that has run no build."""
    engine = PrivateEngine(live_restore=False)
    yield engine
    engine.close()


async def names(docker: aiodocker.Docker) -> list[str]:
    return [one["Name"] for one in await docker.networks.list() if one["Name"] == _NAME]


async def test_builds_of_two_servers_that_begin_at_once_are_in_one_network(new_engine: PrivateEngine):
    async with aiodocker.Docker(url=new_engine.host) as docker:
        servers = [Networks(lambda: docker, CLOSED) for _ in range(2)]
        await asyncio.gather(*(one.ensure() for one in servers * 5))
        assert await names(docker) == [_NAME]
        assert servers[0].addresses == servers[1].addresses != []


async def test_of_several_networks_of_the_name_the_oldest_stays(new_engine: PrivateEngine):
    async with aiodocker.Docker(url=new_engine.host) as docker:
        await Networks(lambda: docker, CLOSED).ensure()
        (oldest,) = [one["Id"] for one in await docker.networks.list() if one["Name"] == _NAME]
        for _ in range(2):
            await docker.networks.create({"Name": _NAME, "Driver": "bridge"})
        assert len(await names(docker)) == 3

        started = Networks(lambda: docker, CLOSED)
        await started.look()
        await started.ensure()

        assert [one["Id"] for one in await docker.networks.list() if one["Name"] == _NAME] == [oldest]
        assert started.addresses
