"""Files and commands of other users than the server's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.machine import only_root
from tests.support.server import Server

USER = 12345
pytestmark = only_root


@pytest.fixture
def server(new_server: Callable[..., Server]) -> Iterator[Server]:
    """A server that has ended, with a build, whose data folder is that of another user."""
    server = new_server(executor="process").start()
    server.run({"name": "kept", "steps": ["seq 3"]})
    server.stop()
    with tempfile.TemporaryDirectory(prefix="rapidflow-other-user-") as folder:
        Path(folder).chmod(0o755)
        server.data = server.data.rename(Path(folder) / "data")
        server.set(data=str(server.data))
        subprocess.run(["chown", "--recursive", f"{USER}:{USER}", server.data], check=True)
        yield server
        server.stop()


def as_user(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    packages = os.pathsep.join(path for path in sys.path if path)
    return subprocess.run(
        ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups",
         sys.executable, "-m", "rapidflow_web", *arguments],
        env={"PATH": "/usr/bin:/bin", "RAPIDFLOW_DATA": str(server.data), "PYTHONPATH": packages,
             "RAPIDFLOW_EXECUTOR": "process", "RAPIDFLOW_BIND": "127.0.0.1:0", "HOME": "/none"},
        capture_output=True, text=True, timeout=60, cwd="/",
    )  # fmt: skip


@pytest.mark.parametrize("command", [("doctor", "--fix"), ("secret", "rotate")])
def test_root_leaves_no_files_that_the_server_can_not_read(server: Server, command: tuple[str, ...]) -> None:
    (server.data / "logs" / "0000" / "1.index").unlink()
    (server.data / "lock").unlink()
    done = server.command(*command)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"rapidflow: the data folder {server.data} belongs to user {USER}, and you are root: "
        f"run 'rapidflow {' '.join(command)}' as the user of the server\n"
    )
    assert {path.stat().st_uid for path in server.data.rglob("*")} == {USER}
    assert as_user(server, "doctor", "--fix").returncode == 0


def test_root_may_make_a_backup_and_is_told_whose_a_restored_folder_is(server: Server) -> None:
    backup = server.data.parent / "b.tar"
    assert server.command("backup", str(backup)).returncode == 0
    assert {path.stat().st_uid for path in server.data.rglob("*")} == {USER}
    shutil.rmtree(server.data)
    server.data.mkdir(mode=0o700)
    os.chown(server.data, USER, USER)
    done = server.command("restore", str(backup))
    assert done.returncode == 0
    assert done.stderr.splitlines() == [
        f"restored to {server.data}; start the server",
        f"what is in it belongs to root, the folder to user {USER}; "
        f"for a server of user {USER}, use chown -R",
    ]


@pytest.mark.parametrize("name", ["logs", "mirrors", "uploads", "work", "key"])
def test_what_the_server_can_not_use_stops_the_start_with_one_sentence(server: Server, name: str) -> None:
    os.chown(server.data / name, 0, 0)
    sentence = (
        f"rapidflow: RAPIDFLOW_DATA is '{server.data}', which can't be used: "
        f"{server.data / name}: Permission denied.\n"
    )
    done = as_user(server, "serve")
    assert (done.returncode, done.stderr) == (2, sentence)
    (server.data / name).chmod(0o755)
    if name != "key":
        assert as_user(server, "doctor").stderr == sentence
