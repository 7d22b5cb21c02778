"""An engine that hangs: it takes connections and answers none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from rapidflow_web.errors import EngineUnavailable
from rapidflow_web.executors.archive import Archive
from tests.support import images
from tests.support.builds import Place
from tests.support.engine_proxy import EngineProxy


@pytest.fixture
async def hanging(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Place, EngineProxy]]:
    """A place whose engine is reached through a proxy, and gives it some seconds to answer."""
    images.ensure(images.BASH)
    monkeypatch.setattr("rapidflow_web.executors.docker.connection.CALL", aiohttp.ClientTimeout(total=4))
    monkeypatch.setattr("rapidflow_web.executors.docker.executor._CHECK_SECONDS", 1)
    monkeypatch.setattr("rapidflow_web.executors.docker.container._ANSWER_SECONDS", 1.0)
    proxy = EngineProxy()
    place = Place("docker", tmp_path, engine_timeout=2)
    with monkeypatch.context() as patch:
        patch.setenv("DOCKER_HOST", proxy.host)
        await place.executor.check()
    yield place, proxy
    proxy.thaw()
    await place.close()
    proxy.close()
    assert place.left_behind() == []


async def test_calls_to_an_engine_that_hangs_end(hanging: tuple[Place, EngineProxy]) -> None:
    place, proxy = hanging
    build = await place.begin_steps("echo ready; sleep 1000")
    await build.printed(b"ready\n")
    proxy.freeze()
    async with asyncio.timeout(30):
        with pytest.raises(EngineUnavailable, match="took too long"):
            await place.executor.check()
        with pytest.raises(EngineUnavailable):
            await place.executor.find(build.stored)
        with pytest.raises(EngineUnavailable):
            await build.running.stop(0)
        # Its output goes on only once it is let go of; then it is missed as well.
        await build.running.detach()
        with pytest.raises(EngineUnavailable, match="did not come back in 2s"):
            await build.ended()


async def test_input_that_an_engine_does_not_take_ends_with_the_connection(
    hanging: tuple[Place, EngineProxy],
) -> None:
    place, proxy = hanging
    spec = place.spec("true", files={"large": "x" * 50_000_000})
    build = place.read(await place.start(spec), spec)
    await build.marker("ready")
    proxy.freeze()
    archive = Archive(spec.root)
    delivery = asyncio.create_task(build.running.deliver(archive, True))
    await asyncio.sleep(0.5)
    assert not delivery.done()
    await build.running.detach()
    async with asyncio.timeout(30):
        with pytest.raises(EngineUnavailable):
            await delivery
        await archive.close()
