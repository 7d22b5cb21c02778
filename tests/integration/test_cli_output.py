"""What the command prints where output is closed, full, or a terminal that obeys what is printed on it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support.server import Server, wait_for

HOSTILE = "\x9b31m\u202egpj"
SHOWN = "\\x9b31m\\u202egpj"
COMMANDS = [
    "jobs",
    "logs 1",
    "validate FILE",
    "user list",
    "secret list",
    "doctor",
    "backup FILE.tar",
    "run FILE",
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("output") / "data", executor="process").start()
    server.run({"name": f"name {HOSTILE}", "steps": ["printf 'raw \\033[1m'"]})
    yield server
    server.stop()


def shell(server: Server, arguments: str, redirected: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """The command in a shell, with its streams as `redirected` says."""
    file = folder / "build.yml"
    file.write_text("name: must not start\nsteps: ['true']\n")
    arguments = arguments.replace("FILE", str(file))
    return subprocess.run(
        ["bash", "-c", f"{sys.executable} -m rapidflow_web --url {server.url} {arguments} {redirected}"],
        env={"PATH": "/usr/bin:/bin", "RAPIDFLOW_DATA": str(server.data)},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_with_closed_output_nothing_is_begun_and_a_sentence_says_why(server: Server, tmp_path: Path) -> None:
    for command in COMMANDS:
        done = shell(server, command, ">&-", tmp_path)
        assert done.returncode == 2, (command, done.stderr)
        assert done.stderr == "rapidflow: standard output is closed; open it, or send it to /dev/null\n"
    assert [path.name for path in tmp_path.iterdir()] == ["build.yml"]
    assert [job["id"] for job in server.get("/jobs").json] == [1]
    assert len(server.get("/pipelines").json) == 1


def test_output_that_is_full_is_said_in_a_sentence(server: Server, tmp_path: Path) -> None:
    for command in ("jobs", "logs 1", "validate FILE", "doctor", "--help"):
        done = shell(server, command, ">/dev/full", tmp_path)
        assert done.returncode == 2, (command, done.stderr)
        assert done.stderr == "rapidflow: No space left on device\n", command


def test_a_build_that_was_started_before_the_disk_was_full_goes_on_and_that_is_said(
    server: Server, tmp_path: Path
) -> None:
    done = shell(server, "run FILE", ">/dev/full", tmp_path)
    assert done.returncode == 2
    job_id = max(job["id"] for job in server.get("/jobs").json)
    assert f"job {job_id} goes on; 'rapidflow logs -f {job_id}' follows it" in done.stderr
    assert done.stderr.endswith("rapidflow: No space left on device\n")
    assert server.wait_finished(job_id)["job"]["status"] == "success"


@pytest.mark.parametrize("closed", ["2>&-", "2>/dev/full", "<&-", "2>&- <&-"])
def test_other_streams_may_be_closed(server: Server, tmp_path: Path, closed: str) -> None:
    good = shell(server, "logs 1", closed, tmp_path)
    assert (good.returncode, good.stderr) == (0, "") and "raw" in good.stdout
    assert shell(server, "logs 999", closed, tmp_path).returncode == 2
    assert shell(server, "validate -", closed, tmp_path).returncode == 1


def test_a_reader_that_has_gone_before_the_first_byte_is_no_error(server: Server, tmp_path: Path) -> None:
    done = shell(server, "jobs", "| true; echo ${PIPESTATUS[0]} >&2", tmp_path)
    assert done.stderr in ("141\n", "0\n")


def test_a_server_starts_also_with_closed_or_full_output(tmp_path: Path) -> None:
    for redirected in (">&-", ">/dev/full", ">&- <&-"):
        server = Server(tmp_path / f"data{len(redirected)}", executor="process")
        script = tmp_path / "python"
        script.write_text(f'#!/bin/sh\nexec {sys.executable} "$@" {redirected}\n')
        script.chmod(0o755)
        with server.log.open("w") as log:
            server.process = subprocess.Popen(
                [script, "-m", "rapidflow_web", "serve"],
                env={
                    "PATH": "/usr/bin:/bin",
                    "RAPIDFLOW_DATA": str(server.data),
                    "RAPIDFLOW_BIND": f"127.0.0.1:{server.port}",
                    "RAPIDFLOW_EXECUTOR": "process",
                },
                stderr=log,
            )
        try:
            wait_for(partial(_is_healthy, server), "it answers", seconds=60)
            # Nothing that was meant for the terminal got into the database.
            assert server.get("/pipelines").json == []
        finally:
            server.stop()
        assert server.process.returncode == 0
        assert "Traceback" not in server.log.read_text()


def _is_healthy(server: Server) -> bool:
    try:
        return server.get("/health").status == 200
    except OSError:
        return False


def test_what_others_named_reaches_no_terminal_as_it_is(server: Server, tmp_path: Path) -> None:
    listed = shell(server, "jobs", "", tmp_path).stdout
    assert SHOWN[:8] in listed and HOSTILE[0] not in listed and "\u202e" not in listed
    header, *_, row = listed.splitlines()
    assert row.index("success") == header.index("STATUS") and "\t" not in row
    missed = shell(server, f"run $'{HOSTILE}\\x1b[31m'", "", tmp_path)
    assert missed.stderr == f"rapidflow: there is no pipeline and no file '{SHOWN}\\x1b[31m'\n"
    # The output of a build is its author's, as with `docker logs`.
    assert "raw \x1b[1m" in shell(server, "logs 1", "", tmp_path).stdout
