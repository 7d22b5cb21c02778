"""How a build is stopped, in every executor."""

from __future__ import annotations

import asyncio

import pytest

from rapidflow_web.executors.agent.protocol import run_command
from tests.support import images
from tests.support.builds import WAIT, Build, Place, inspect, processes_of

_LONG = 60
"""Seconds of grace that no test may wait for."""


def running_of(place: Place, build: Build) -> list[str]:
    """What of a build still runs."""
    if place.name == "docker":
        return [build.running.id] if inspect(build.running.id, "{{.State.Running}}") == "true" else []
    return processes_of(build.spec.root)


async def test_a_step_with_a_trap_cleans_up_and_what_it_prints_is_heard(place: Place) -> None:
    build = await place.begin_steps(
        "trap 'echo cleaning; sleep 0.1; echo clean; exit 3' TERM; echo ready; " + WAIT
    )
    await build.printed(b"ready\n")
    async with asyncio.timeout(_LONG / 2):
        await build.running.stop(_LONG)
    await build.ended()
    assert bytes(build.text) == b"ready\ncleaning\nclean\n"
    assert build.markers[-1] == ("exit", "1", "3", "term")
    assert running_of(place, build) == []


async def test_a_step_that_ignores_the_signal_is_killed_at_the_end_of_grace_with_all_its_children(
    place: Place,
) -> None:
    build = await place.begin_steps(
        "trap '' TERM; setsid sleep 1000 & sleep 1000 & (setsid sh -c 'sleep 1000; true' &); "
        "env -i sleep 1000 & echo ready; " + WAIT
    )
    await build.printed(b"ready\n")
    await build.running.stop(1)
    await build.ended()
    assert running_of(place, build) == []
    assert [marker for marker in build.markers if marker[0] == "exit"] == []
    assert (await build.running.exit()).code in (137, -9)


async def test_an_agent_between_two_steps_stops_at_once(place: Place) -> None:
    build = await place.begin_steps("true")
    await build.exit(1)
    async with asyncio.timeout(_LONG / 2):
        await build.running.stop(_LONG)
    await build.ended()
    assert running_of(place, build) == []


async def test_without_grace_a_step_ends_at_once(place: Place) -> None:
    build = await place.begin_steps("trap '' TERM; echo ready; " + WAIT)
    await build.printed(b"ready\n")
    async with asyncio.timeout(_LONG / 2):
        await build.running.stop(0)
    await build.ended()
    assert running_of(place, build) == []


async def test_stop_may_be_called_again_and_at_the_same_time(place: Place) -> None:
    build = await place.begin_steps("trap 'echo once; exit 0' TERM; echo ready; " + WAIT)
    await build.printed(b"ready\n")
    await asyncio.gather(build.running.stop(_LONG), build.running.stop(_LONG))
    await build.ended()
    await build.running.stop(_LONG)
    assert bytes(build.text) == b"ready\nonce\n"
    await build.running.remove()
    await build.running.stop(_LONG)


async def test_a_build_that_floods_its_output_can_be_stopped_while_it_is_read(place: Place) -> None:
    build = await place.begin_steps("while :; do echo flood; done")
    await build.printed(b"flood\n" * 1000)
    async with asyncio.timeout(_LONG / 2):
        await build.running.stop(_LONG)
    await build.ended()
    assert build.markers[-1] == ("exit", "1", "143", "term")
    assert bytes(build.text).removesuffix(b"\n") == b"\n".join([b"flood"] * build.text.count(b"flood"))


async def test_a_step_can_be_ended_alone_and_a_later_one_that_is_post_runs(place: Place) -> None:
    build = await place.begin_steps(
        "trap 'echo cleaned; exit 3' TERM; echo ready; " + WAIT, "echo never", 'echo "$RAPIDFLOW_STATUS"'
    )
    await build.printed(b"ready\n")
    await build.running.end_step()
    assert await build.exit(1) == "3"
    await build.run(2)
    assert await build.exit(2) == "143"
    await build.running.send(run_command(3, "cancelled"))
    assert await build.exit(3) == "0"
    assert bytes(build.text) == b"ready\ncleaned\ncancelled\n"
    assert [marker for marker in build.markers if marker[0] == "exit"][-1] == ("exit", "3", "0")


async def test_a_step_that_ignores_that_can_be_killed_with_all_its_processes(place: Place) -> None:
    await kill_deaf(place, images.BASH)


@pytest.mark.parametrize("image", [images.BUSYBOX, images.USER, images.NO_TAR])
async def test_a_step_can_be_killed_in_every_image(docker: Place, image: str) -> None:
    await kill_deaf(docker, image)


async def kill_deaf(place: Place, image: str) -> None:
    """Kills a step that ignores signals and has children of all kinds, then runs one that is post."""
    build = await place.begin_steps(
        "trap '' TERM; sleep 1000 & (setsid sh -c 'sleep 1000; true' &); env -i sleep 1000 & echo ready; "
        "while :; do echo flood; done",
        "echo post",
        image=image,
    )
    await build.printed(b"flood\n" * 1000)
    await build.running.end_step()
    await build.running.kill_step()
    assert await build.exit(1) == "137"
    # The kernel takes its time with those that were killed beside the step's own process.
    async with asyncio.timeout(_LONG / 2):
        while await build.running.processes():  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await build.running.send(run_command(2, "cancelled"))
    assert await build.exit(2) == "0"
    assert bytes(build.text).endswith(b"flood\npost\n")


async def test_what_is_to_end_a_step_and_comes_late_harms_no_post_step(place: Place) -> None:
    build = await place.begin_steps("true", "echo ready; sleep 1; echo done")
    assert await build.exit(1) == "0"
    await build.running.end_step()
    await build.running.send(run_command(2, "success"))
    await build.printed(b"ready\n")
    await build.running.end_step()
    await build.running.kill_step()
    assert await build.exit(2) == "0"
    assert bytes(build.text) == b"ready\ndone\n"


async def test_to_end_a_step_of_a_build_that_has_ended_does_no_harm(place: Place) -> None:
    build = await place.begin_steps("true")
    await build.exit(1)
    await build.running.stop(0)
    await build.running.end_step()
    await build.running.kill_step()
    await build.remove()
    await build.running.end_step()
    await build.running.kill_step()
