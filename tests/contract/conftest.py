"""Every test that asks for a `place` runs in every executor."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.builds import Place, eventually


@pytest.fixture(params=["docker", "process"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    """An executor of the test's own, of each kind."""
    made = Place(request.param, tmp_path)
    yield made
    await made.close()
    await eventually(lambda: made.left_behind() == [], "nothing is left behind")


@pytest.fixture
async def docker(tmp_path: Path) -> AsyncIterator[Place]:
    """The docker executor, for what only it has."""
    made = Place("docker", tmp_path)
    yield made
    await made.close()
    await eventually(lambda: made.left_behind() == [], "nothing is left behind")
