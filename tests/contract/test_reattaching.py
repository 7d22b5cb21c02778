"""A build goes on without its server, and the next one goes on reading it, in every executor."""

from __future__ import annotations

import pytest

from rapidflow_web.errors import BuildError
from tests.support.builds import WAIT, Build, Place, engine

_COUNT = "i=0; while [ $i -lt {lines} ]; do i=$((i+1)); echo line $i; {pause}; done"


def lines(count: int) -> bytes:
    return b"".join(b"line %d\n" % number for number in range(1, count + 1))


async def take_up(place: Place, build: Build, source: int | None = None) -> Build:
    """What the next server does: finds the build and reads on where the last one ended."""
    found = await place.another_executor().find(build.stored)
    assert found is not None
    assert found.id == build.running.id
    return place.read(found, build.spec, build.source + len(build.raw) if source is None else source)


async def test_output_goes_on_byte_for_byte_while_the_agent_runs(place: Place) -> None:
    build = await place.begin_steps(_COUNT.format(lines=300, pause="sleep 0.005"), "echo second")
    await build.printed(b"line 20\n")
    await build.leave()
    again = await take_up(place, build)
    assert await again.marker("sync") == ("sync", "1", "1", "1")
    assert await again.exit(1) == "0"
    assert bytes(build.text + again.text) == lines(300)
    await again.run(2)
    assert await again.exit(2) == "0"
    assert bytes(again.text).endswith(b"second\n")


async def test_output_that_was_printed_unheard_is_read_later(place: Place) -> None:
    build = await place.begin_steps(
        "echo before; touch started; until [ -e go ]; do sleep 0.01; done; seq 100000"
    )
    await build.printed(b"before\n")
    await build.leave()
    # Another one hears all of it, so it is there before the build is taken up.
    other = await take_up(place, build, source=0)
    if place.name == "docker":
        engine("exec", build.running.id, "touch", "/workspace/go")
    else:
        (build.spec.root / "workspace" / "go").touch()
    assert await other.exit(1) == "0"
    await other.leave()
    again = await take_up(place, build)
    assert await again.exit(1) == "0"
    assert bytes(again.text) == b"".join(b"%d\n" % number for number in range(1, 100001))


async def test_a_build_can_be_left_and_taken_up_many_times_in_a_flood(place: Place) -> None:
    build = await place.begin_steps(_COUNT.format(lines=10**9, pause=":"))
    await build.printed(b"line 1000\n")
    parts = [build]
    for number in range(1, 8):
        await parts[-1].leave()
        parts.append(await take_up(place, parts[-1], sum(len(part.raw) for part in parts)))
        assert await parts[-1].marker("sync") == ("sync", str(number), "1", "1")
    await parts[-1].running.stop(30)
    await parts[-1].ended()
    text = b"".join(bytes(part.text) for part in parts)
    assert text == lines(text.count(b"\n")) + text[text.rfind(b"\n") + 1 :]


@pytest.mark.parametrize("offset", [0, 1, 40, 5000])
async def test_output_begins_at_any_offset(place: Place, offset: int) -> None:
    build = await place.begin_steps(_COUNT.format(lines=1000, pause=":"))
    assert await build.exit(1) == "0"
    await build.leave()
    again = await take_up(place, build, offset)
    await again.marker("sync")
    assert bytes(again.raw).startswith(bytes(build.raw[offset:]))
    assert again.markers[-1] == ("sync", "1", "0", "1")


async def test_output_of_an_agent_that_ended_meanwhile_is_read_to_its_end(place: Place) -> None:
    build = await place.begin_steps("trap 'echo cleaned; exit 5' TERM; echo ready; " + WAIT)
    await build.printed(b"ready\n")
    await build.leave()
    other = await place.another_executor().find(build.stored)
    assert other is not None
    await other.stop(30)
    again = await take_up(place, build)
    await again.ended()
    assert bytes(again.text) == b"cleaned\n"
    assert again.markers == [("exit", "1", "5", "term")]
    whole = await take_up(place, build, 0)
    await whole.ended()
    assert bytes(whole.raw) == bytes(build.raw + again.raw)


async def test_output_at_the_very_end_of_an_ended_build_is_nothing(place: Place) -> None:
    build = await place.begin_steps("echo all")
    await build.exit(1)
    await build.running.stop(0)
    await build.ended()
    again = await take_up(place, build)
    await again.ended()
    assert bytes(again.raw) == b""


async def test_output_that_is_gone_is_an_error(place: Place) -> None:
    build = await place.begin_steps("echo all")
    await build.exit(1)
    await build.running.stop(0)
    await build.ended()
    beyond = await take_up(place, build, len(build.raw) + 1)
    with pytest.raises(BuildError):
        await beyond.ended()


async def test_an_agent_that_was_killed_ends_its_output_and_can_be_removed(place: Place) -> None:
    build = await place.begin_steps("echo ready; setsid sleep 1000")
    await build.printed(b"ready\n")
    build.crash()
    await build.ended()
    assert bytes(build.text) == b"ready\n"
    assert (await build.running.exit()).code in (137, -9)
    found = await place.another_executor().find(build.stored)
    assert found is not None
    await found.remove()
    assert place.left_behind() == []


async def test_find_of_a_build_that_was_never_started_finds_nothing(place: Place) -> None:
    assert await place.executor.find(place.spec("true")) is None
