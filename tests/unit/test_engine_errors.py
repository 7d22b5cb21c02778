"""What people read when an engine can't be reached."""

from __future__ import annotations

from pathlib import Path

import aiodocker
import pytest

from rapidflow_web.errors import EngineUnavailable
from rapidflow_web.executors.docker.engine_errors import engine_errors
from tests.support.server import free_port


async def test_an_engine_that_is_not_there_is_named_with_the_systems_reason(tmp_path: Path):
    port = free_port()
    for url, reason in (
        (f"unix://{tmp_path}/no.sock", f"unix://{tmp_path}/no.sock: No such file or directory"),
        (f"tcp://127.0.0.1:{port}", f"tcp://127.0.0.1:{port}: Connection refused"),
    ):
        async with aiodocker.Docker(url=url) as docker:
            with pytest.raises(EngineUnavailable) as raised, engine_errors("ask"):
                await docker.version()
        assert str(raised.value) == f"the Docker engine can't be reached: {reason}"
