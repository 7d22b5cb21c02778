"""A forked command is to tests what an executed one is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import fork_server
from tests.support.builds import processes_of
from tests.support.server import wait_for


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    file = tmp_path / "build.yml"
    file.write_text(json.dumps({"name": "any", "steps": ["true"]}))
    return file


def test_output_errors_and_exit_codes_are_those_of_an_executed_command(
    pipeline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pipeline.parent)
    for arguments, given in (
        (("validate", "build.yml"), b""),
        (("validate", "-"), b"name: \xc3\xbc\nsteps: [a]\n"),
        (("validate", "none.yml"), b""),
        (("--help",), b""),
        (("jobs",), b""),
        (("no-such-command",), b""),
    ):
        settings = {"PATH": os.environ["PATH"], "RAPIDFLOW_URL": "http://127.0.0.1:9"}
        forked = fork_server.run(*arguments, env=settings, input=given)
        executed = subprocess.run(
            [sys.executable, "-m", "rapidflow_web", *arguments],
            env=settings,
            input=given,
            capture_output=True,
        )
        assert (forked.returncode, forked.stdout, forked.stderr) == (
            executed.returncode,
            executed.stdout,
            executed.stderr,
        )


def test_it_is_a_process_that_has_nothing_open_but_its_streams_and_can_be_killed(pipeline: Path) -> None:
    os.mkfifo(fifo := pipeline.with_name("fifo"))
    with pipeline.open("rb") as given, pipeline.with_name("out").open("wb") as out:
        commands = [
            fork_server.start("validate", str(fifo), stdin=given, stdout=out, stderr=out) for _ in range(2)
        ]
    first, second = commands
    assert first.pid != second.pid
    for command in commands:
        process = Path(f"/proc/{command.pid}")
        assert process.joinpath("cwd").readlink() == Path.cwd()
        wait_for(lambda: {file.name for file in (process / "fd").iterdir()} == {"0", "1", "2"}, "it is alone")  # noqa: B023
        assert command.poll() is None
    first.kill()
    assert first.wait(10) == -9
    assert second.poll() is None
    fifo.write_bytes(pipeline.read_bytes())
    assert second.wait(10) == 0
    assert "is valid" in pipeline.with_name("out").read_text()


def test_its_output_can_be_read_as_it_comes(pipeline: Path) -> None:
    with pipeline.open("rb") as given:
        command = fork_server.start(
            "validate", "-", stdin=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    assert command.stdout is not None and command.stderr is not None
    with command.stdout as out, command.stderr as errors:
        assert out.read() == b"standard input: 'any' is valid, 1 step\n"
        assert errors.read() == b""
    assert command.wait(10) == 0


def test_the_process_that_forks_knows_nothing_of_the_first_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A variable of the interpreter of its own makes this start the first one of another such process.
    monkeypatch.setenv("PYTHON_OF_THE_FIRST_TEST", "1")
    monkeypatch.setenv("FOLDER_OF_THE_FIRST_TEST", str(tmp_path))
    assert fork_server.run("--version").returncode == 0
    assert processes_of(tmp_path) == []


def test_its_umask_is_that_of_the_tests(pipeline: Path) -> None:
    os.mkfifo(fifo := pipeline.with_name("fifo"))
    before = os.umask(0o027)
    try:
        command = fork_server.start("validate", str(fifo))
    finally:
        os.umask(before)
    status = Path(f"/proc/{command.pid}/status")
    wait_for(lambda: "Umask:\t0027\n" in status.read_text(), "it has the umask")
    fifo.write_bytes(pipeline.read_bytes())
    assert command.wait(10) == 0
