"""The client of the engine."""

from __future__ import annotations

import aiohttp
import pytest

from rapidflow_web import outgoing
from rapidflow_web.executors.docker import engine_client


async def test_an_engine_at_an_https_address_is_trusted_as_the_machine_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "https://engine.example.org:2376")
    monkeypatch.delenv("DOCKER_TLS_VERIFY", raising=False)
    docker = engine_client.connect(aiohttp.ClientTimeout(total=1))
    try:
        assert isinstance(docker.connector, aiohttp.TCPConnector)
        assert docker.connector._ssl is outgoing.trusting()
    finally:
        await docker.close()
