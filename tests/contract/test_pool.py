"""Containers that are kept ready for builds to come."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from pathlib import Path

import pytest

from rapidflow_web.errors import BuildError
from rapidflow_web.executors.docker import pool
from rapidflow_web.pipeline.limits import Limits
from rapidflow_web.progress import untold
from tests.support import images
from tests.support.builds import Build, Place, engine, eventually, forgotten, inspect, live
from tests.support.engine_proxy import EngineProxy


@pytest.fixture
async def parking(docker: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A place whose executor keeps two containers ready."""
    monkeypatch.setattr(pool, "_REST_SECONDS", 0)
    await use(docker, parked=2)
    return docker


async def use(place: Place, parked: int) -> None:
    """Gives the place an executor that may park containers."""
    place.executor = place.another_executor(parked=parked)
    await place.executor.sweep(dict)


def parked(place: Place, *builds: Build) -> list[str]:
    """The containers of a place that wait for a build, as far as the engine is concerned."""
    return [one for one in place.left_behind() if one not in {build.running.id for build in builds}]


async def waiting(place: Place, count: int, *builds: Build) -> list[str]:
    """The parked containers, once there are `count` whose agent waits."""

    def ready() -> bool:
        found = parked(place, *builds)
        return len(found) == count and all(agent_waits(one) for one in found)

    await eventually(ready, f"{count} containers wait")
    # Their executor knows a moment after they do.
    await asyncio.sleep(0.05)
    return parked(place, *builds)


def agent_waits(container: str) -> bool:
    try:
        return "rapidflow-agent" in engine("top", container)
    except Exception:
        return False  # it has not started, or is gone


async def built(place: Place, **wanted: object) -> str:
    """Runs a build; returns its container."""
    build = await place.begin(place.spec("echo said", **wanted))  # type: ignore[arg-type]
    assert await build.exit(1) == "0"
    assert bytes(build.text) == b"said\n"
    await build.remove()
    return build.running.id


async def test_a_build_gets_a_container_that_was_parked_for_it_and_no_other_gets_it(parking: Place) -> None:
    await built(parking)
    (first,) = await waiting(parking, 1)

    assert await built(parking) == first

    second = await waiting(parking, 2)
    assert first not in second
    assert await built(parking) in second


async def test_a_build_with_a_parked_container_asks_the_engine_only_what_its_image_is(
    parking: Place, proxy: EngineProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", proxy.host)
    await use(parking, parked=1)
    await built(parking)
    await waiting(parking, 1)
    # The next one is parked later.
    monkeypatch.setattr(pool, "_REST_SECONDS", 60)
    before = len(proxy.requests)

    assert not await parking.executor.images.provide(images.BASH, untold)  # type: ignore[union-attr]
    build = await parking.begin(parking.spec("echo said"))

    assert await build.exit(1) == "0"
    (asked,) = proxy.requests[before:]
    assert asked.startswith(b"GET /") and f"/images/{images.BASH}/json".encode() in asked
    await build.remove()
    assert len(proxy.requests) > before + 1


@pytest.mark.parametrize(
    "change",
    [
        {"limits": Limits(memory=64 * 1024**2)},
        {"limits": Limits(cpus=0.5)},
        {"limits": Limits(processes=100)},
        {"limits": Limits(shm=1024**2)},
        {"network": False},
        {"new_privileges": True},
        {"port": 3000},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_a_build_that_needs_another_container_does_not_get_it(
    parking: Place, change: dict[str, object]
) -> None:
    await built(parking)
    (first,) = await waiting(parking, 1)

    build = await parking.begin(dataclasses.replace(parking.spec("true"), **change))

    assert await build.exit(1) == "0"
    assert build.running.id != first
    await build.remove()


async def test_limits_that_the_engine_has_no_part_in_make_no_difference(parking: Place) -> None:
    await built(parking)
    (first,) = await waiting(parking, 1)

    spec = dataclasses.replace(parking.spec("true"), limits=Limits(timeout=60, log_limit=1024**2))
    build = await parking.begin(spec)

    assert await build.exit(1) == "0"
    assert build.running.id == first
    await build.remove()


async def test_a_build_in_another_image_does_not_get_it(parking: Place) -> None:
    await built(parking)
    (first,) = await waiting(parking, 1)
    assert await built(parking, image=images.BUSYBOX) != first
    assert first in await waiting(parking, 2)


async def test_those_for_the_last_builds_are_kept(parking: Place) -> None:
    await built(parking)
    (first,) = await waiting(parking, 1)
    for _ in range(3):
        await built(parking, image=images.BUSYBOX)
    await eventually(lambda: first not in parked(parking), "the one for the first image is gone")
    kept = await waiting(parking, 2)
    assert [inspect(one, "{{.Image}}") for one in kept] == [
        inspect(images.ensure(images.BUSYBOX), "{{.Id}}")
    ] * 2


async def test_a_tag_that_was_moved_means_a_new_container(parking: Place, tmp_path: Path) -> None:
    image = f"rapidflow-test/for-{tmp_path.name.lower()}:1"
    engine("tag", images.ensure(images.BASH), image)
    step = "command -v bash || echo none"

    async def said() -> tuple[str, str]:
        await parking.executor.images.provide(image, untold)  # type: ignore[union-attr]
        build = await parking.begin(parking.in_image(parking.spec(step), image))
        assert await build.exit(1) == "0"
        await build.remove()
        return bytes(build.text).decode(), build.running.id

    await said()
    (first,) = await waiting(parking, 1)
    engine("tag", images.ensure(images.BUSYBOX), image)

    text, container = await said()

    assert text == "none\n" and container != first
    engine("rmi", "--force", image)


async def test_it_goes_with_the_server(parking: Place) -> None:
    await built(parking)
    await waiting(parking, 1)
    await parking.executor.close()
    await eventually(lambda: parked(parking) == [], "the engine has removed it")


async def test_what_a_killed_server_had_parked_is_swept_by_the_next(parking: Place) -> None:
    build = await parking.begin_steps("echo begun; sleep 1000")
    await build.printed(b"begun\n")
    (stray,) = await waiting(parking, 1, build)
    await build.leave()
    after = parking.another_executor()

    assert await after.orphans(live(build)) == [f"the container {stray[:12]}"]
    assert await after.sweep(live(build)) == 1

    assert parking.left_behind() == [build.running.id]


async def test_servers_that_are_killed_one_after_the_other_do_not_each_add_what_they_park(
    parking: Place,
) -> None:
    build = await parking.begin(parking.spec("true"))
    (stray,) = await waiting(parking, 1, build)
    await build.leave()
    others = [parking.another_executor(parked=2) for _ in range(3)]
    for other in others:
        # All but the last are killed before they have swept.
        await other.expect(parking.spec("true"))
    await asyncio.sleep(1)
    assert set(parking.left_behind()) == {build.running.id, stray}

    after = others[-1]
    await after.sweep(live(build))

    await eventually(lambda: after.parked == 1, "it parks what is expected")
    assert stray not in parking.left_behind()
    assert len(parking.left_behind()) == 2


async def test_one_that_waits_is_no_stray(parking: Place) -> None:
    await built(parking)
    (container,) = await waiting(parking, 1)
    assert await parking.executor.sweep(dict) == 0
    assert parked(parking) == [container]


async def test_one_that_ended_is_swept_and_no_build_gets_it(parking: Place) -> None:
    await built(parking)
    (container,) = await waiting(parking, 1)
    engine("kill", container)
    await asyncio.sleep(0.1)
    assert await built(parking) != container
    await parking.executor.sweep(dict)
    assert container not in parked(parking)


async def test_parked_containers_do_not_keep_an_image_from_being_removed(
    parking: Place, tmp_path: Path
) -> None:
    image = f"rapidflow-test/for-{tmp_path.name.lower()}:1"
    # An image of its own: of one that has other names, only the name would go.
    (tmp_path / "Dockerfile").write_text(f"FROM {images.ensure(images.BASH)}\nLABEL for={tmp_path.name}\n")
    engine("build", "--quiet", "--tag", image, str(tmp_path))
    for count in (1, 2):
        build = await parking.begin(parking.in_image(parking.spec("true"), image))
        await build.remove()
        await waiting(parking, count)

    assert await parking.executor.images.remove(image)  # type: ignore[union-attr]

    assert parked(parking) == []


async def test_an_agent_that_can_not_begin_is_not_parked_and_says_why(parking: Place, tmp_path: Path) -> None:
    image = f"rapidflow-test/for-{tmp_path.name.lower()}:1"
    (tmp_path / "Dockerfile").write_text(f"FROM {images.ensure(images.BASH)}\nRUN touch /rapidflow\n")
    engine("build", "--quiet", "--tag", image, str(tmp_path))
    began = f"{time.time() - 1:.0f}"
    spec = parking.in_image(parking.spec("true"), image)
    build = parking.read(await parking.start(spec), spec)
    await build.ended()
    assert b"mkdir" in build.text
    await build.remove()

    await parking.executor.expect(spec)

    await asyncio.sleep(2)
    assert parking.executor.parked == 0
    await eventually(lambda: parked(parking) == [], "what can't begin is removed")
    # No more of them than were asked for.
    label = f"label=rapidflow.installation={parking.executor.installation}"  # type: ignore[attr-defined]
    until = f"{time.time():.0f}"
    events = engine(
        "events", "--since", began, "--until", until, "--filter", "event=create", "--filter", label
    )
    assert len(events.splitlines()) == 2
    engine("rmi", "--force", image)


async def test_a_connection_that_breaks_while_the_agent_starts_says_nothing_of_the_image(
    parking: Place, tmp_path: Path, proxy: EngineProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = f"rapidflow-test/for-{tmp_path.name.lower()}:1"
    (tmp_path / "Dockerfile").write_text(
        f"FROM {images.ensure(images.BASH)}\nRUN mkdir /workspace && touch /workspace/old\n"
    )
    engine("build", "--quiet", "--tag", image, str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", proxy.host)
    parking.executor = parking.another_executor(parked=0)
    proxy.freeze_after(b"/attach", b"/start")
    start = asyncio.create_task(parking.start(parking.in_image(parking.spec("true"), image)))
    await eventually(lambda: proxy.frozen, "the container starts unheard")
    proxy.break_connections()
    proxy.thaw()
    await asyncio.wait({start})
    if start.exception() is None:
        await start.result().remove()

    build = await parking.begin(parking.in_image(parking.spec("ls"), image))

    assert await build.exit(1) == "0"
    assert bytes(build.text) == b""
    await build.remove()
    engine("rmi", "--force", image)


async def test_a_build_without_network_needs_none(parking: Place) -> None:
    parking.executor = parking.another_executor(network="nowhere", parked=0)
    build = await parking.begin(parking.spec("echo said", network=False))
    assert await build.exit(1) == "0"
    await build.remove()


async def test_a_parked_agent_ends_when_the_engine_stops_it(parking: Place) -> None:
    await built(parking)
    (container,) = await waiting(parking, 1)
    engine("stop", "--time", "60", container)
    assert inspect(container, "{{.State.ExitCode}}") == "143"
    await eventually(lambda: parking.executor.parked == 0, "it is counted no more")


async def test_a_start_that_is_cancelled_leaves_nothing_behind_but_what_is_parked(parking: Place) -> None:
    for delay in (0, 0.002, 0.01, 0.05, 0.1, 0.2):
        start = asyncio.create_task(parking.start(parking.spec("true")))
        await asyncio.sleep(delay)
        start.cancel()
        await asyncio.wait({start})
        if not start.cancelled():
            await start.result().remove()
    await parking.executor.close()
    assert parking.left_behind() == []


async def test_many_builds_one_after_another_leave_nothing_behind(parking: Place) -> None:
    used = [await built(parking) for _ in range(20)]
    assert len(set(used)) == len(used)
    await waiting(parking, 2)
    await parking.executor.close()
    await eventually(lambda: parking.left_behind() == [], "the engine has removed what was parked")


async def test_nothing_is_parked_for_an_image_that_is_gone(parking: Place) -> None:
    with pytest.raises(BuildError, match="is not there any more"):
        await parking.executor.start(parking.in_image(parking.spec("true"), "no-such-image:1"), forgotten)
    assert parking.left_behind() == []


async def test_what_is_expected_is_parked_before_the_first_build(parking: Place) -> None:
    spec = parking.spec("echo said")
    await parking.executor.expect(spec)
    (first,) = await waiting(parking, 1)
    assert await built(parking) == first
