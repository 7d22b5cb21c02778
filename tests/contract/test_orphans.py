"""What is left of builds that are over is removed, and nothing else, in every executor."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from rapidflow_web.errors import EngineUnavailable
from rapidflow_web.executors.base import Executor
from rapidflow_web.progress import untold
from tests.support.builds import Place, forgotten, live


async def test_a_sweep_removes_what_belongs_to_no_live_job(place: Place) -> None:
    goes_on = await place.begin_steps("sleep 1000")
    dead = await place.begin_steps("setsid sleep 1000 & sleep 1000")
    await dead.leave()
    assert await place.executor.sweep(live(goes_on)) == 1
    assert await place.executor.find(dead.stored) is None
    assert await place.executor.find(goes_on.stored) is not None
    assert await place.executor.sweep(live(goes_on)) == 0
    await goes_on.running.stop(1)
    await goes_on.ended()


async def test_a_sweep_removes_nothing_of_another_installation(place: Place, tmp_path: Path) -> None:
    other_folder = tmp_path / "other"
    other_folder.mkdir()
    other = Place(place.name, other_folder)
    try:
        theirs = await other.begin_steps("sleep 1000")
        ours = await place.begin_steps("sleep 1000")
        await ours.leave()
        assert await place.executor.sweep(dict) == 1
        assert await other.executor.find(theirs.stored) is not None
        await theirs.running.stop(1)
        assert (await theirs.exit(1)) == "143"
    finally:
        await other.close()


async def test_a_sweep_of_nothing_removes_nothing(place: Place) -> None:
    assert await place.executor.sweep(dict) == 0


async def test_an_address_of_an_engine_that_is_none_is_said_to_be_none(
    docker: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "nonsense")
    lost: Executor = docker.another_executor()
    with pytest.raises(EngineUnavailable, match=r"^DOCKER_HOST is 'nonsense', which is not an address"):
        await lost.check()
    await lost.close()


async def test_an_engine_that_is_not_there_is_said_to_be_by_every_call(
    docker: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nothing.sock")
    away: Executor = docker.another_executor()
    spec = docker.spec("true")
    with pytest.raises(EngineUnavailable, match="can't be reached"):
        await away.check()
    with pytest.raises(EngineUnavailable):
        await away.images.provide("an-image:1", untold)
    with pytest.raises(EngineUnavailable):
        await away.start(spec, forgotten)
    with pytest.raises(EngineUnavailable):
        await away.find(dataclasses.replace(spec, container_id="gone"))
    with pytest.raises(EngineUnavailable):
        await away.sweep(dict)
    monkeypatch.delenv("DOCKER_HOST")


async def test_a_sweep_leaves_alone_what_a_build_removes_that_just_ends(place: Place) -> None:
    ending = await place.begin_steps("sleep 1000")
    lives = iter([live(ending)()])
    # It is live when the sweep begins, and never again.
    assert await place.executor.sweep(lambda: next(lives, {})) == 0
    await ending.remove()
