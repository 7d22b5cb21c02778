"""Restores to data folders that can't be replaced: below a folder of others, on their own disk, by a link."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.machine import only_root, small_disk
from tests.support.server import Server

USER = "41999"


@pytest.fixture(scope="module")
def backup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A backup of one build, in a folder that everybody may read."""
    with tempfile.TemporaryDirectory(prefix="rapidflow-restore-") as folder:
        Path(folder).chmod(0o755)
        server = Server(tmp_path_factory.mktemp("source") / "data", executor="process").start()
        server.run({"name": "kept", "steps": ["seq 3"]})
        server.stop()
        file = Path(folder) / "b.tar"
        assert server.command("backup", str(file)).returncode == 0
        file.chmod(0o644)
        yield file


def assert_restored(server: Server) -> None:
    server.start()
    assert "1\n2\n3\n" in server.stream(1)
    server.stop()
    assert not (server.data / "restoring").exists()


@only_root
def test_a_folder_below_one_of_others_is_restored(backup: Path) -> None:
    # As systemd makes /var/lib/rapidflow for the user of the service.
    data = backup.parent / "state"
    data.mkdir(mode=0o700)
    os.chown(data, int(USER), int(USER))
    packages = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups",
         sys.executable, "-m", "rapidflow_web", "restore", str(backup)],
        env={"PATH": "/usr/bin:/bin", "RAPIDFLOW_DATA": str(data), "PYTHONPATH": packages, "HOME": "/none"},
        capture_output=True, text=True, timeout=120, cwd="/",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == f"restored to {data}; start the server\n"
    assert {path.stat().st_uid for path in data.rglob("*")} == {int(USER)}
    assert (data / "rapidflow.db").exists() and not (data / "restoring").exists()


@only_root
def test_a_disk_of_its_own_is_restored(backup: Path, new_server: Callable[..., Server]) -> None:
    server = new_server("disk", executor="process")
    with small_disk(server.data, "64m"):
        (server.data / "lost+found").mkdir()
        done = server.command("restore", str(backup))
        assert done.returncode == 0, done.stderr
        assert_restored(server)
        assert os.path.ismount(server.data)


def test_a_folder_that_is_a_link_is_restored(
    backup: Path, new_server: Callable[..., Server], tmp_path: Path
) -> None:
    server = new_server("link", executor="process")
    (tmp_path / "elsewhere").mkdir()
    server.data.symlink_to(tmp_path / "elsewhere")
    done = server.command("restore", str(backup))
    assert done.returncode == 0, done.stderr
    assert server.data.is_symlink()
    assert_restored(server)


def test_a_restore_that_fails_leaves_the_folder_as_it_was(new_server: Callable[..., Server]) -> None:
    server = new_server("failing", executor="process")
    server.data.mkdir()
    refused = server.command("restore", "-", input=json.dumps({}))
    assert refused.returncode == 2 and refused.stderr.startswith("rapidflow: this is not a backup")
    assert list(server.data.iterdir()) == []
