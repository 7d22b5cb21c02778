"""A build from its start to its removal, in every executor."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from rapidflow_web.errors import BuildError
from rapidflow_web.executors.agent.protocol import run_command
from rapidflow_web.pipeline.definition import StepDefinition
from tests.support.builds import Build, Place


async def test_the_created_callback_is_told_the_id_before_the_agent_says_anything(place: Place) -> None:
    told: list[str] = []

    async def created(build_id: str) -> None:
        told.append(build_id)

    running = await place.start(place.spec("true"), created)
    assert told == [running.id]


async def test_a_step_prints_between_its_markers_and_ends_with_its_exit_code(place: Place) -> None:
    build = await place.begin_steps("echo one; echo two >&2; printf three; exit 7")
    assert await build.exit(1) == "7"
    assert bytes(build.text) == b"one\ntwo\nthree"
    assert [marker[0] for marker in build.markers if marker[0] != "unpacked"] == ["ready", "start", "exit"]


@pytest.mark.parametrize("code", [0, 1, 2, 42, 126, 255])
async def test_every_exit_code_arrives_as_it_is(place: Place, code: int) -> None:
    build = await place.begin_steps(f"exit {code}")
    assert await build.exit(1) == str(code)


async def test_a_step_that_is_killed_has_the_exit_code_of_its_signal(place: Place) -> None:
    build = await place.begin_steps("kill -9 $$", "kill -TERM $$")
    assert await build.exit(1) == "137"
    await build.run(2)
    assert await build.exit(2) == "143"


async def test_what_a_step_writes_and_installs_is_there_for_the_next_one(place: Place) -> None:
    build = await place.begin_steps("echo kept >file; mkdir -p deep/down", "cat file; ls -d deep/down; pwd")
    assert await build.exit(1) == "0"
    await build.run(2)
    assert await build.exit(2) == "0"
    workspace = place.executor.workspace(build.spec.root)
    assert bytes(build.text).decode() == f"kept\ndeep/down\n{workspace}\n"


async def test_source_variables_and_files_of_a_step_are_where_it_runs(place: Place) -> None:
    step = StepDefinition(
        'echo "$GREETING"; cat README.md made/here.json', files={"made/here.json": '{"a": 1}\n'}
    )
    build = await place.begin(place.spec(step, files={"README.md": "read me\n", "src/main.c": "int x;\n"}))
    assert await build.exit(1) == "0"
    assert bytes(build.text) == b'good day\nread me\n{"a": 1}\n'


async def test_a_command_that_is_sent_twice_runs_its_step_once(place: Place) -> None:
    build = await place.begin_steps("echo ran", "echo ran too")
    for number in (1, 1, 2, 1, 2):
        await build.running.send(run_command(number))
    assert await build.exit(2) == "0"
    await build.running.stop(0)
    await build.ended()
    assert bytes(build.text) == b"ran\nran too\n"


async def test_output_holds_every_byte_once_whatever_the_bytes(place: Place) -> None:
    build = await place.begin_steps(
        r"printf '\000\001\036\036not a marker\r\n\377\376'; i=0; "
        "while [ $i -lt 20000 ]; do i=$((i+1)); echo line $i; done; printf 'the end'"
    )
    assert await build.exit(1) == "0"
    lines = b"".join(b"line %d\n" % number for number in range(1, 20001))
    assert bytes(build.text) == b"\0\1\x1e\x1enot a marker\r\n\xff\xfe" + lines + b"the end"


async def test_a_reader_that_pauses_loses_nothing(place: Place) -> None:
    build = await place.begin_steps("seq 400000; echo done")
    await build.printed(b"1000\n")
    build.pause()
    await asyncio.sleep(0.3)
    build.go_on()
    assert await build.exit(1) == "0"
    assert bytes(build.text) == b"".join(b"%d\n" % number for number in range(1, 400001)) + b"done\n"


async def test_a_process_left_in_the_background_does_not_hold_the_step_open(place: Place) -> None:
    build = await place.begin_steps("sleep 1000 & echo started", "echo next")
    assert await build.exit(1) == "0"
    await build.run(2)
    assert await build.exit(2) == "0"
    assert bytes(build.text) == b"started\nnext\n"
    await build.remove()
    assert place.left_behind() == []


async def test_exit_tells_how_the_agent_ended(place: Place) -> None:
    build = await place.begin_steps("true")
    await build.exit(1)
    await build.running.stop(5)
    await build.ended()
    ended = await build.running.exit()
    assert (ended.code, ended.out_of_memory) == (143, False)
    assert await build.running.exit() == ended


async def test_remove_leaves_nothing_behind_and_may_be_called_again(place: Place) -> None:
    build = await place.begin_steps("mkfifo a-fifo-of-its-own; (sleep 1000 &); sleep 1000")
    await build.marker("start", "1")
    await build.remove()
    await build.running.remove()
    left = [name for name in place.left_behind() if not name.endswith("a-fifo-of-its-own")]
    assert left == []
    assert await place.executor.find(build.stored) is None


async def test_a_build_may_be_removed_while_it_floods_its_output_and_nobody_reads(place: Place) -> None:
    build = await place.begin_steps("while :; do echo flood; done")
    await build.printed(b"flood\n" * 1000)
    build.pause()
    async with asyncio.timeout(20):
        await build.running.remove()
    assert place.left_behind() == []
    build.go_on()
    await build.leave()


async def test_a_start_that_is_cancelled_leaves_nothing_behind(place: Place) -> None:
    # At as many different moments as there are: before, while and after the agent comes into being.
    for delay in (0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2):
        start = asyncio.create_task(place.start(place.spec("true")))
        await asyncio.sleep(delay)
        start.cancel()
        await asyncio.wait({start})
        if not start.cancelled():
            await start.result().remove()
        assert place.left_behind() == []


async def test_a_start_that_fails_leaves_nothing_behind(place: Place) -> None:
    async def refuse(_: str) -> None:
        raise BuildError("the test refuses")

    with pytest.raises(BuildError, match="the test refuses"):
        await place.start(place.spec("true"), refuse)
    assert place.left_behind() == []


async def test_a_start_takes_the_place_of_one_that_was_cut_short(place: Place) -> None:
    spec = place.spec("echo again")
    await place.start(spec)
    # Nobody ever heard of the first one, as if the server had been killed before it could note it down.
    build = await place.begin(spec)
    assert await build.exit(1) == "0"
    assert bytes(build.text) == b"again\n"
    await build.remove()
    # A container belongs to nobody then.
    await place.executor.sweep(dict)
    assert place.left_behind() == []


async def test_builds_run_at_the_same_time_without_hearing_each_other(place: Place) -> None:
    async def one(number: int) -> bytes:
        build = await place.begin_steps(f"i=0; while [ $i -lt 2000 ]; do echo {number}; i=$((i+1)); done")
        assert await build.exit(1) == "0"
        return bytes(build.text)

    outputs = await asyncio.gather(*(one(number) for number in range(4)))
    assert outputs == [b"%d\n" % number * 2000 for number in range(4)]


async def test_check_says_nothing_where_builds_can_be_started(place: Place) -> None:
    await place.executor.check()


async def test_the_workspace_of_a_build_is_told_before_it_exists(place: Place, tmp_path: Path) -> None:
    build: Build = await place.begin_steps("pwd")
    await build.exit(1)
    assert bytes(build.text).decode().strip() == str(place.executor.workspace(build.spec.root))


async def test_the_processes_of_a_build_are_told_without_the_agent(place: Place) -> None:
    build = await place.begin_steps("sleep 1000 & exec sleep 2000")
    wanted = ["sleep 1000", "sleep 2000"]
    for _ in range(100):
        processes = await build.running.processes()
        if sorted(process.command for process in processes) == wanted:
            break
        await asyncio.sleep(0.05)
    assert sorted(process.command for process in processes) == wanted
    assert all(process.pid > 1 and 0 <= process.seconds < 60 for process in processes)
    await build.running.stop(0)
    await build.ended()
    assert await build.running.processes() == []
