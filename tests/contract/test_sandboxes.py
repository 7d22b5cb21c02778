"""Networks that are kept ready for builds to come."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rapidflow_web.executors.docker import sandboxes
from rapidflow_web.executors.docker.executor import DockerExecutor
from rapidflow_web.executors.docker.sandboxes import SANDBOX_LABEL
from tests.support import images
from tests.support.builds import Place, engine, eventually, inspect
from tests.support.server import containers


@pytest.fixture
def ready(docker: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A place whose executor keeps a network ready."""
    monkeypatch.setattr(sandboxes, "_REFILL_SECONDS", 0)
    docker.executor = docker.another_executor(spare_networks=1)
    return docker


def of(place: Place) -> list[str]:
    """The sandboxes of a place."""
    assert isinstance(place.executor, DockerExecutor)
    return containers(f"{SANDBOX_LABEL}={place.executor.installation}")


async def used_by_a_build(place: Place, image: str = images.BASH) -> str:
    """Runs a build; returns the sandbox that it was in."""
    await place.executor.images.provide(images.ensure(image), lambda _: None)
    build = await place.begin_steps("true", image=image)
    assert await build.exit(1) == "0"
    sandbox = inspect(build.running.id, "{{.HostConfig.NetworkMode}}").removeprefix("container:")
    await build.remove()
    assert sandbox not in of(place)
    return sandbox


async def waiting(place: Place) -> str:
    """The sandbox that waits for the next build."""
    assert isinstance(place.executor, DockerExecutor)
    kept = place.executor._sandboxes._ready  # pyright: ignore[reportPrivateUsage]
    # Not by asking the engine: it runs a moment before the executor knows.
    await eventually(lambda: kept, "a network is ready")
    assert of(place) == [kept[0].id]
    return kept[0].id


async def test_a_build_gets_the_network_that_was_made_ready_for_it(ready: Place) -> None:
    await used_by_a_build(ready)
    first = await waiting(ready)
    assert await used_by_a_build(ready) == first
    assert await waiting(ready) != first


async def test_a_build_in_another_image_does_not_get_it(ready: Place) -> None:
    await used_by_a_build(ready)
    first = await waiting(ready)
    assert await used_by_a_build(ready, images.BUSYBOX) != first
    await eventually(lambda: first not in of(ready), "the one for the image used last takes its place")
    assert inspect(await waiting(ready), "{{.Config.Image}}") == images.BUSYBOX


async def test_it_ends_with_the_server(ready: Place) -> None:
    await used_by_a_build(ready)
    await waiting(ready)
    await ready.executor.close()
    await eventually(lambda: of(ready) == [], "nothing is left")


async def test_that_of_a_build_outlives_the_server_and_goes_with_the_build(ready: Place) -> None:
    build = await ready.begin_steps("sleep 1; cat /sys/class/net/eth0/operstate; sleep 1000")
    await build.leave()
    await ready.executor.close()
    await eventually(lambda: len(of(ready)) == 1, "the one that waited is gone")
    (sandbox,) = of(ready)
    ready.executor = ready.another_executor()
    assert await ready.executor.orphans({build.spec.job_id}) == []
    found = await ready.executor.find(build.spec)
    assert found is not None
    again = ready.read(found, build.spec)
    await again.printed(b"up\n")
    await again.remove()
    assert sandbox not in of(ready)


async def test_what_a_killed_server_left_between_network_and_container_is_swept(ready: Place) -> None:
    assert isinstance(ready.executor, DockerExecutor)
    image = images.ensure(images.BASH)
    engine(
        "run", "--detach", "--label", f"{SANDBOX_LABEL}={ready.executor.installation}", image, "sleep", "1000"
    )  # fmt: skip
    assert await ready.executor.orphans(set()) == ["the network of a build"]
    assert await ready.executor.sweep(set()) == 1
    assert of(ready) == []


async def test_one_that_is_ready_is_no_stray(ready: Place) -> None:
    await used_by_a_build(ready)
    sandbox = await waiting(ready)
    assert await ready.executor.sweep(set()) == 0
    assert of(ready) == [sandbox]


async def test_one_that_was_killed_is_not_used(ready: Place) -> None:
    await used_by_a_build(ready)
    sandbox = await waiting(ready)
    engine("kill", sandbox)
    await eventually(lambda: sandbox not in of(ready), "it is gone")
    assert await used_by_a_build(ready) != sandbox


async def test_it_does_not_keep_an_image_from_being_removed(ready: Place, tmp_path: Path) -> None:
    image = f"rapidflow-test/for-{tmp_path.name.lower()}:1"
    engine("tag", images.ensure(images.BASH), image)
    await ready.executor.images.provide(image, lambda _: None)
    build = await ready.begin(ready.spec("true"))
    await build.remove()
    await waiting(ready)
    assert await ready.executor.images.remove(image)


async def test_what_an_image_has_in_the_place_of_its_shell_can_do_nothing_there(ready: Place) -> None:
    await used_by_a_build(ready)
    host = json.loads(inspect(await waiting(ready), "{{json .HostConfig}}"))
    wanted = {
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges:true"],
        "ReadonlyRootfs": True,
        "PidsLimit": 16,
        "Memory": 64 * 1024**2,
        "MemorySwap": 64 * 1024**2,
        "NanoCpus": 10**9,
    }
    assert {key: host[key] for key in wanted} == wanted
