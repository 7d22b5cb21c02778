"""The agent, run by every shell that images have: archives and files that it is sent, signals meanwhile."""

from __future__ import annotations

import io
import random
import signal
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from rapidflow_web.executors.agent import protocol
from rapidflow_web.pipeline.definition import StepDefinition
from tests.support import agents
from tests.support.agents import Start
from tests.support.server import wait_for

BLOCK = protocol.BLOCK


def packed(tmp_path: Path, large: int = 0) -> bytes:
    """An archive of scripts and a workspace, with a file of `large` bytes, for the agent of `start`."""
    source = tmp_path / "source"
    agents.write(tmp_path / "root", ["cat file; wc -c < large", "echo two"], home=source / "rapidflow")
    (source / "workspace").mkdir()
    (source / "workspace" / "file").write_text("from the archive\n")
    (source / "workspace" / "large").write_bytes(random.randbytes(large))
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name in ("rapidflow", "workspace"):
            tar.add(source / name, name)
    assert len(archive.getvalue()) % BLOCK == 0
    return archive.getvalue()


def chunks(archive: bytes, sizes: Callable[[], int]) -> bytes:
    """The archive as the command wants it, in chunks of that many blocks."""
    data = b"unpack\n"
    while archive:
        blocks = min(sizes(), len(archive) // BLOCK)
        data += b"%d\n" % blocks + archive[: blocks * BLOCK]
        archive = archive[blocks * BLOCK :]
    return data + b"0\n"


def test_an_archive_in_any_chunks_is_unpacked(tmp_path: Path, start: Start):
    archive = packed(tmp_path, large=300_000)
    one = start()
    data = chunks(archive, lambda: random.choice([1, 1, 2, 7]))
    while data:
        size = random.choice([1, 777, 10_240, 65_536])
        one.send(data[:size])
        data = data[size:]
    one.wait_marker("unpacked", "0")
    assert one.run(1, 2) == [("0",), ("0",)]
    assert one.output.split() == [b"from", b"the", b"archive", b"300000", b"two"]


def test_an_archive_and_the_command_to_run_may_come_at_once(tmp_path: Path, start: Start):
    archive = packed(tmp_path)
    one = start()
    one.send(chunks(archive, lambda: 64) + protocol.run_command(1))
    one.wait_marker("exit", "1", "0")
    assert one.output.startswith(b"from the archive\n")


@pytest.mark.parametrize("kind", ["noise", "cut short", "not there"])
def test_a_broken_archive_is_told_and_read_to_its_end(tmp_path: Path, start: Start, kind: str):
    archive = packed(tmp_path, large=50_000)
    broken = {"noise": random.randbytes(20 * BLOCK), "cut short": archive[: 2 * BLOCK], "not there": b""}[
        kind
    ]
    one = start()
    one.send(chunks(broken, lambda: 3))
    code = int(one.wait_marker("unpacked")[1])
    if kind != "not there":  # busybox takes nothing for an empty archive
        assert code != 0
        assert b"tar" in one.output
    # What came with the archive was not taken for commands.
    one.send(chunks(archive, lambda: 5))
    one.wait_marker("unpacked", "0")
    assert one.run(1) == [("0",)]


def test_an_agent_answers_while_the_rest_of_an_archive_does_not_come(tmp_path: Path, start: Start):
    archive = packed(tmp_path, large=100_000)
    one = start()
    one.send(b"unpack\n5\n" + archive[: 4 * BLOCK])
    one.signal(signal.SIGUSR1)
    one.wait_marker("sync", "1", "0", "0")
    rest = archive[4 * BLOCK :]
    one.send(rest[:BLOCK] + b"%d\n" % (len(rest) // BLOCK - 1) + rest[BLOCK:] + b"0\n")
    one.wait_marker("unpacked", "0")
    assert one.run(1) == [("0",)]


def test_an_agent_can_be_stopped_while_the_rest_of_an_archive_does_not_come(tmp_path: Path, start: Start):
    archive = packed(tmp_path)
    one = start()
    one.send(b"unpack\n1000\n" + archive)
    wait_for(lambda: (one.home / "env").exists(), "it has begun to unpack")
    one.signal(signal.SIGTERM)
    assert one.process.wait(timeout=30) == 143


_SCRIPT = r"""printf '%s|' "it's" 'a\\b' '\\\n' '$HOME `id` %d'

  echo ' end' # run 1
run() { echo "$1"; }
run 1"""


def made(tmp_path: Path, *scripts: str) -> bytes:
    """The command that makes what the agent needs for these steps."""
    source = tmp_path / "source"
    steps = [StepDefinition(script, "sh") for script in scripts]
    agents.write(tmp_path / "root", steps, home=source / "rapidflow")
    files = {str(path.relative_to(source)): path.read_bytes() for path in source.rglob("*") if path.is_file()}
    command = protocol.make_command(files)
    assert command is not None
    return command


def test_small_files_are_made_by_the_shell_byte_by_byte(tmp_path: Path, start: Start):
    command = made(tmp_path, _SCRIPT, "echo two")
    one = start()
    for byte in command:
        one.send(bytes([byte]))
    one.send(protocol.run_command(1))
    one.wait_marker("unpacked", "0")
    one.wait_marker("exit", "1", "0")
    assert one.run(2) == [("0",)]
    assert one.output == b"it's|a\\\\b|\\\\\\n|$HOME `id` %d| end\n1\ntwo\n"
    for path in (one.home / "steps" / "1.sh", one.home / "env"):
        assert path.read_bytes() == (tmp_path / "source/rapidflow" / path.relative_to(one.home)).read_bytes()


def test_an_agent_answers_and_can_be_stopped_while_the_rest_of_small_files_does_not_come(
    tmp_path: Path, start: Start
):
    command = made(tmp_path, "echo one")
    one = start()
    half = command.index(b"\n", len(command) // 2) + 1
    one.send(command[:half])
    one.signal(signal.SIGUSR1)
    one.wait_marker("sync", "1", "0", "0")
    one.send(command[half:])
    one.wait_marker("unpacked", "0")
    assert one.run(1) == [("0",)]
    one.send(command[:half])
    one.signal(signal.SIGTERM)
    assert one.process.wait(timeout=30) == 143


def test_small_files_that_do_not_arrive_whole_are_not_made(tmp_path: Path, start: Start) -> None:
    command = made(tmp_path, "echo one")
    one = start()
    middle = command.index(b"echo one") + 4
    one.send(command[:middle])
    one.signal(signal.SIGUSR1)
    one.wait_marker("sync", "1", "0", "0")
    one.send(command[middle:])
    # Some shells forget what they had read of a line when a signal comes.
    if one.wait_marker("unpacked") == ("unpacked", "0"):
        assert one.run(1) == [("0",)]
    else:
        assert list((one.home / "steps").iterdir()) == []
    assert one.output in (b"", b"one\n")


def test_a_file_that_can_not_be_made_is_told(tmp_path: Path, start: Start):
    command = made(tmp_path, "echo one")
    one = start()
    (one.home / "env").mkdir()
    one.send(command)
    assert one.wait_marker("unpacked") != ("unpacked", "0")
    assert b"/rapidflow/env: " in one.output
    (one.home / "env").rmdir()
    one.send(command)
    one.wait_marker("unpacked", "0")
    assert one.run(1) == [("0",)]


def test_what_the_shell_itself_complains_of_is_in_the_copy_too(start: Start):
    one = start("echo one")
    (one.home / "unpack.log").mkdir()
    one.send(b"unpack\n")
    assert one.wait_marker("unpacked") != ("unpacked", "0")
    one.run(1)
    one.end_all()
    assert b"unpack.log" in one.output
    assert (one.home / "log").read_bytes() == one.raw
