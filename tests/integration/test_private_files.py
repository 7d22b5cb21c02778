"""What the server writes is its user's alone, whatever the umask is that it was started with."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.server import Server


@pytest.fixture(autouse=True)
def everything_for_everybody() -> Iterator[None]:
    usual = os.umask(0)
    yield
    os.umask(usual)


def open_to_others(folder: Path) -> list[str]:
    """What others may read or enter of the folder; what lies below a closed folder is closed."""
    found = [folder] if folder.stat().st_mode & 0o077 else []
    for path in [*folder.iterdir(), *(folder / "logs").rglob("*")]:
        if not path.is_symlink() and path.stat().st_mode & 0o077:
            found.append(path)
    return [str(path) for path in found]


def test_all_that_a_server_writes_is_closed_to_others(
    new_server: Callable[..., Server], tmp_path: Path
) -> None:
    server = new_server(executor="process")
    server.start()
    server.run({"name": "long", "steps": ["seq 3"]})
    running = server.start_job({"name": "running", "steps": ["echo ready; sleep 1000"]})
    server.wait_output(running, "ready")
    assert server.command("secret", "set", "NAME", input="a value").returncode == 0
    names = {path.name for path in server.data.iterdir()}
    assert {"rapidflow.db", "rapidflow.db-wal", "rapidflow.db-shm", "secrets.key", "key", "lock"} <= names
    assert open_to_others(server.data) == []
    assert server.command("backup", str(tmp_path / "b.tar")).returncode == 0
    assert (tmp_path / "b.tar").stat().st_mode & 0o077 == 0
    server.post(f"/jobs/{running}/cancel")
    server.stop()
    restored = new_server("restored", executor="process")
    assert restored.command("restore", str(tmp_path / "b.tar")).returncode == 0
    assert open_to_others(restored.data) == []

    # What an older version has left is closed at the next start.
    for path in (server.data, *server.data.iterdir()):
        path.chmod(0o777 if path.is_dir() else 0o666)
    for index in server.data.glob("logs/*/*.index"):
        index.unlink()
    assert server.command("doctor", "--fix").returncode in (0, 1)  # makes indexes anew
    server.start()
    assert open_to_others(server.data) == []
