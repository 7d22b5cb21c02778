"""Much output, slow readers and containers that end in odd ways."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from rapidflow_web.errors import BuildError
from tests.support import images
from tests.support.builds import Place, copy_of, engine, eventually, inspect, stands_still
from tests.support.machine import only_root, undeletable

_LAST = 2_000_000


def numbers() -> bytes:
    return b"".join(b"%d\n" % number for number in range(1, _LAST + 1))


async def test_many_megabytes_arrive_byte_for_byte(docker: Place) -> None:
    build = await docker.begin_steps(f"seq {_LAST}; printf end", image=images.BUSYBOX)
    assert await build.exit(1) == "0"
    assert bytes(build.text) == numbers() + b"end"


async def test_a_line_of_many_megabytes_arrives_byte_for_byte(docker: Place) -> None:
    build = await docker.begin_steps("head -c 10000000 /dev/zero | tr '\\000' x; echo")
    assert await build.exit(1) == "0"
    assert bytes(build.text) == b"x" * 10_000_000 + b"\n"


async def test_while_a_reader_pauses_the_build_waits_and_nothing_is_lost(docker: Place) -> None:
    build = await docker.begin_steps(
        f"until [ -e go ]; do sleep 0.01; done; seq {_LAST}", image=images.BUSYBOX
    )
    copy = copy_of(build.running.id)
    await build.marker("start", "1")
    engine("exec", build.running.id, "touch", "/workspace/go")
    await build.printed(b"1000\n")
    build.pause()
    await eventually(stands_still(copy), "the build waits")
    assert copy.stat().st_size < len(numbers())
    build.go_on()
    assert await build.exit(1) == "0"
    assert bytes(build.text) == numbers()


async def test_a_flood_that_is_left_and_taken_up_again_and_again_is_whole(docker: Place) -> None:
    build = await docker.begin_steps(f"seq {_LAST}", image=images.BUSYBOX)
    await build.printed(b"10000\n")
    parts = [build]
    for _ in range(4):
        await parts[-1].leave()
        found = await docker.another_executor().find(build.stored)
        assert found is not None
        parts.append(docker.read(found, build.spec, parts[-1].source + len(parts[-1].raw)))
        await parts[-1].marker("sync")
    # It may have ended while an earlier part was read.
    exits = [words for part in parts for words in part.markers if words[0] == "exit"]
    assert exits == [("exit", "1", "0")] if exits else await parts[-1].exit(1) == "0"
    assert b"".join(bytes(part.text) for part in parts) == numbers()


async def test_a_connection_that_breaks_is_made_anew_without_losing_a_byte(docker: Place) -> None:
    build = await docker.begin_steps(f"seq {_LAST}", "echo second", image=images.BUSYBOX)
    await build.printed(b"10000\n")
    for number in range(1, 4):
        await build.running.detach()
        await build.marker("sync", str(number))
    assert await build.exit(1) == "0"
    await build.run(2)
    assert await build.exit(2) == "0"
    assert bytes(build.text) == numbers() + b"second\n"


async def test_a_container_that_is_killed_in_a_flood_ends_its_output_without_an_error(docker: Place) -> None:
    build = await docker.begin_steps("while :; do echo flood; done")
    await build.printed(b"flood\n" * 10000)
    build.crash()
    await build.ended()
    assert set(bytes(build.text).split(b"\n")[:-1]) == {b"flood"}
    assert (await build.running.exit()).code == 137


async def test_a_container_that_was_removed_by_somebody_is_an_error_that_says_so(docker: Place) -> None:
    build = await docker.begin_steps("sleep 1000")
    await build.marker("start", "1")
    await build.leave()
    engine("rm", "--force", build.running.id)
    gone = docker.read(build.running, build.spec, len(build.raw))
    with pytest.raises(BuildError, match="the container of the build is gone"):
        await gone.ended()
    assert (await build.running.exit()).code is None
    await build.running.stop(1)
    await build.running.remove()


@only_root
async def test_one_whose_removal_got_stuck_ends_its_output_without_an_error(docker: Place) -> None:
    build = await docker.begin_steps("echo heard; sleep 1000")
    await build.printed(b"heard\n")
    with undeletable(copy_of(build.running.id).parents[2] / "kept"):
        with pytest.raises(subprocess.CalledProcessError):
            engine("rm", "--force", build.running.id)
        await build.ended()
        assert inspect(build.running.id, "{{.State.Status}}") == "dead"
    assert bytes(build.text) == b"heard\n"
    assert (await build.running.exit()).code == 137


async def test_a_copy_that_can_not_be_written_is_an_error_and_no_gap(docker: Place) -> None:
    # Somebody cut the copy, as a full disk would; what was printed unheard is lost for good.
    build = await docker.begin_steps(
        "echo heard; until [ -e go ]; do sleep 0.01; done; echo unheard; sleep 1000"
    )
    await build.printed(b"heard\n")
    await build.leave()
    copy_of(build.running.id).write_bytes(b"")
    found = await docker.another_executor().find(build.stored)
    assert found is not None
    with pytest.raises(BuildError, match="the container's copy of the output"):
        await docker.read(found, build.spec, len(build.raw)).ended()


async def test_an_agent_that_does_not_answer_is_given_up(
    docker: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rapidflow_web.executors.docker.container._SYNC_SECONDS", 1.5)
    build = await docker.begin_steps("sleep 1000")
    await build.marker("start", "1")
    await build.leave()
    os.kill(int(inspect(build.running.id, "{{.State.Pid}}")), signal.SIGSTOP)
    found = await docker.another_executor().find(build.stored)
    assert found is not None
    with pytest.raises(BuildError, match="does not answer"):
        await docker.read(found, build.spec).ended()


async def test_tee_that_is_killed_ends_the_agent(docker: Place) -> None:
    build = await docker.begin_steps("kill -9 $(pidof tee); sleep 0.1; echo lost", image=images.BUSYBOX)
    await build.ended()
    assert (await build.running.exit()).code == 141
