"""Programs beside the event loop: all they print, whatever they are given, and nothing left of them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from rapidflow_web.processes import Program

MIB = 1024 * 1024
Test = Callable[[], Coroutine[Any, Any, None]]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Test], None]:
    """Runs a test in a loop of either kind, which leaves no file open."""

    def run(test: Test) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(asyncio.sleep(0))
            before = sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208
            runner.run(test())
            assert sorted(os.listdir("/proc/self/fd")) == before  # noqa: PTH208

    return run


def shell(script: str, **options: Any) -> Program:
    return Program("sh", "-c", script, **options)


def test_all_that_is_given_comes_back_however_much_it_is(run: Callable[[Test], None]) -> None:
    async def test() -> None:
        data = os.urandom(MIB)
        with shell("tee /dev/stderr", has_input=True) as program:
            assert await program.communicate(data) == (data, data)
        assert program.code == 0

    run(test)


def test_a_program_that_takes_no_input_says_itself_why(run: Callable[[Test], None]) -> None:
    async def test() -> None:
        with shell("exec <&-; echo no >&2; exit 3", has_input=True) as program:
            assert await program.communicate(b"x" * MIB) == (b"", b"no\n")
        assert await program.wait() == 3

    run(test)


def test_without_input_and_errors_there_are_none(run: Callable[[Test], None]) -> None:
    async def test() -> None:
        with shell("cat; echo bad >&2; umask", has_errors=False, umask=0o027) as program:
            assert await program.communicate(b"") == (b"0027\n", b"")

    run(test)


def test_its_end_is_noticed_whoever_still_holds_its_output(
    run: Callable[[Test], None], tmp_path: Path
) -> None:
    async def test() -> None:
        os.mkfifo(tmp_path / "held")
        with shell(f"cat {tmp_path}/held & echo out; exit 4", start_new_session=True) as program:
            assert await program.read() == b"out\n"
            assert await program.wait() == 4
            (tmp_path / "held").write_bytes(b"rest")
            assert await program.read() == b"rest"
            assert await program.read() == b""

    run(test)


def test_a_program_that_is_killed_has_the_signal_as_its_code(run: Callable[[Test], None]) -> None:
    async def test() -> None:
        with shell("echo begun; exec sleep 1000") as program:
            assert await program.read() == b"begun\n"
            assert program.code is None
            program.kill()
            assert await program.wait() == program.code == -signal.SIGKILL
            program.kill()

    run(test)


def test_whoever_waits_may_be_cancelled_and_ask_again(run: Callable[[Test], None]) -> None:
    async def test() -> None:
        with shell("read line; echo $line; read line; exit 5", has_input=True) as program:
            for wait in (program.read, program.read_errors, program.wait):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await wait()
            assert await program.communicate(b"one\ntwo\n") == (b"one\n", b"")
        assert program.code == 5

    run(test)


def test_who_waits_for_a_stream_that_is_closed_is_cancelled(run: Callable[[Test], None]) -> None:
    async def test() -> None:
        with shell("exec sleep 1000") as program:
            waiting = asyncio.ensure_future(program.read())
            await asyncio.sleep(0.05)
        await asyncio.wait({waiting})
        assert waiting.cancelled()
        program.kill()
        assert await program.wait() == -signal.SIGKILL

    run(test)


def test_a_program_that_is_not_there_is_an_error_of_the_system(run: Callable[[Test], None]) -> None:
    async def test() -> None:
        with pytest.raises(FileNotFoundError):
            Program("there-is-no-such-program")

    run(test)


def test_programs_that_print_without_end_leave_others_their_turn(run: Callable[[Test], None]) -> None:
    async def test() -> None:
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.ensure_future(other())
        with Program(sys.executable, "-c", f"print('x' * {8 * MIB}, end='')") as program:
            chunks = 0
            while await program.read():
                chunks += 1
            await program.wait()
        task.cancel()
        assert turns >= chunks

    run(test)
