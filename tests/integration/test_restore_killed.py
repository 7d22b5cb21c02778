"""Restores that are killed, that meet each other, or that find what is not theirs."""

from __future__ import annotations

import io
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from rapidflow_web.data_folder import check_is_whole
from rapidflow_web.errors import RapidFlowError
from rapidflow_web.maintenance import backup as backups
from rapidflow_web.settings import from_environment
from tests.support.kills import DONE, KILLED, done_or_killed
from tests.support.machine import only_root, small_disk
from tests.support.server import Server

LAYOUTS = ["plain", "mounted", "linked"]


@pytest.fixture(scope="module")
def backup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of two builds."""
    folder = tmp_path_factory.mktemp("source")
    server = Server(folder / "data", executor="process").start()
    for _ in range(2):
        server.run({"name": "kept", "steps": ["seq 3"]})
    server.stop()
    assert server.command("backup", str(folder / "b.tar")).returncode == 0
    return folder / "b.tar"


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A folder on another disk than that of the tests."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


def restored_in(data: Path, backup: Path, variables: Mapping[str, str] = {}, *, dies_at: int = 0) -> int:
    """Restores in a process of its own, which is killed before it changes the disk the `dies_at`-th time."""

    def action(begin: Callable[[], None]) -> None:
        settings = from_environment({"RAPIDFLOW_DATA": str(data), **variables})
        begin()
        with backup.open("rb") as source:
            backups.restore(settings, source, take_over=True)

    return done_or_killed(action, dies_at=dies_at)


def killed_in_the_middle(data: Path, backup: Path) -> bool:
    """Leaves a data folder as a restore does that is killed while it moves files."""
    deaths = 15
    while not (data / "key").exists() and restored_in(data, backup, dies_at=deaths) == KILLED:
        deaths += 1
    return any((data / "restoring").iterdir())


def refusal(data: Path, backup: Path) -> str:
    with pytest.raises(RapidFlowError) as error, backup.open("rb") as source:
        backups.restore(from_environment({"RAPIDFLOW_DATA": str(data)}), source, take_over=True)
    return str(error.value)


def files(data: Path) -> dict[str, bytes]:
    """All that is in a data folder, without what belongs to no backup."""
    found = (path for path in [*data.glob("*"), *(data / "logs").glob("**/*")] if path.is_file())
    return {str(path.relative_to(data)): path.read_bytes() for path in found if path.name != "lock"}


def all_below(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
        if path.name != "lock"
    }


def made_as(layout: str, data: Path, elsewhere: Path, stack: ExitStack) -> None:
    """An unused data folder, with its logs on another disk except where it is plain."""
    if layout == "plain":
        return
    if layout == "linked":
        (elsewhere / "data").mkdir()
        data.symlink_to(elsewhere / "data")
        (data.parent / "logs").mkdir()
        (data / "logs").symlink_to(data.parent / "logs")
        return
    stack.enter_context(small_disk(data, "64m"))
    stack.enter_context(small_disk(data / "logs", "64m"))
    for disk in data, data / "logs":
        (disk / "lost+found").mkdir()


@only_root
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_restore_that_is_killed_anywhere_can_be_run_again(
    backup: Path, new_server: Callable[..., Server], tmp_path: Path, elsewhere: Path, layout: str
) -> None:
    assert restored_in(tmp_path / "expected", backup) == DONE
    expected = files(tmp_path / "expected")
    assert sum(name.startswith("logs/") for name in expected) == 4
    server = new_server(layout, executor="process")
    step = 1 if layout == "plain" else 3
    with ExitStack() as stack:
        made_as(layout, server.data, elsewhere, stack)
        (tmp_path / "bad.tar").write_bytes(backup.read_bytes()[:-20_000])
        deaths = 0
        while (code := restored_in(server.data, backup, dies_at=deaths + step)) != DONE:
            assert code == KILLED
            deaths += step
            # Another that is of no use changes nothing, and one that is killed again does no harm.
            if deaths % 2:
                refusal(server.data, tmp_path / "bad.tar")
            restored_in(server.data, backup, dies_at=2 * deaths)
            if restored_in(server.data, backup) != DONE:
                # Then that one had come to its end.
                check_is_whole(server.data)
            assert files(server.data) == expected, deaths
            assert not any((server.data / "restoring").glob("*")), deaths
            for path in [*server.data.iterdir(), *(server.data / "logs").iterdir()]:
                if path.name == "logs" or path.name == "lost+found":
                    continue
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        assert deaths > 20
        server.start()
        assert "1\n2\n3\n" in server.stream(1)
        server.stop()


def test_the_file_of_a_database_elsewhere_is_restored_again_after_a_kill(
    backup: Path, tmp_path: Path
) -> None:
    data, database = tmp_path / "data", tmp_path / "elsewhere.db"
    variables = {"RAPIDFLOW_DATABASE_URL": f"sqlite://{database}"}
    deaths = 0
    while (code := restored_in(data, backup, variables, dies_at=deaths + 2)) != DONE:
        assert code == KILLED
        deaths += 2
        if restored_in(data, backup, variables) != DONE:
            check_is_whole(data)
        assert database.stat().st_size > 0 and not (data / "rapidflow.db").exists()
        shutil.rmtree(data)
        database.unlink()
    assert deaths > 20


def test_no_server_starts_on_what_a_killed_restore_left(
    backup: Path, new_server: Callable[..., Server], tmp_path: Path
) -> None:
    server = new_server("killed", executor="process")
    assert killed_in_the_middle(server.data, backup)
    for command in (["serve"], ["doctor"], ["backup", str(tmp_path / "b.tar")], ["user", "list"]):
        refused = server.command(*command)
        assert refused.returncode == 2, command
        assert refused.stderr.endswith("was cut short; run 'rapidflow restore' again\n")
    assert not (tmp_path / "b.tar").exists()
    assert restored_in(server.data, backup) == DONE
    server.start()


@pytest.mark.parametrize("inner", ["restoring", "restoring/mine", "restoring/logs/0000"])
def test_a_restore_removes_nothing_of_a_folder_in_use(backup: Path, tmp_path: Path, inner: str) -> None:
    data = tmp_path / "data"
    assert restored_in(data, backup) == DONE
    (data / inner).mkdir(parents=True)
    before = all_below(data)
    assert "move it away first" in refusal(data, backup)
    (tmp_path / "bad.tar").write_bytes(b"no tar at all" * 100)
    assert "move it away first" in refusal(data, tmp_path / "bad.tar")
    assert all_below(data) == before


def test_a_plain_file_in_the_logs_is_in_the_way(backup: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert killed_in_the_middle(data, backup)
    (data / "logs").mkdir(exist_ok=True)
    (data / "logs/notes.txt").write_text("mine")
    assert "is in use; move it away first" in refusal(data, backup)
    assert (data / "logs/notes.txt").read_text() == "mine"
    (data / "logs/notes.txt").unlink()
    assert restored_in(data, backup) == DONE


@pytest.mark.parametrize("name", ["data", "data/logs"])
def test_a_link_that_leads_nowhere_is_named(
    backup: Path, new_server: Callable[..., Server], name: str
) -> None:
    server = new_server("data", executor="process")
    link = server.data.parent / name
    link.parent.mkdir(exist_ok=True)
    link.symlink_to("/nowhere/at/all")
    for command in (["restore", str(backup)], ["serve"]):
        refused = server.command(*command)
        assert refused.returncode == 2
        assert refused.stderr == (
            f"rapidflow: {link} is a link to /nowhere/at/all, which is not there; "
            "mount its disk, or make that folder\n"
        )
    assert link.is_symlink()


def test_of_two_restores_and_of_a_server_one_has_the_folder(
    backup: Path, new_server: Callable[..., Server]
) -> None:
    server = new_server("both", executor="process")
    with backup.open("rb") as source:

        class Meanwhile(io.RawIOBase):
            """The backup, which another restore and a server meet when half of it is read."""

            met = 0

            def read(self, size: int = -1) -> bytes:
                if source.tell() > backup.stat().st_size // 2 and not self.met:
                    self.met = 1
                    for command in (["restore", str(backup)], ["serve"]):
                        refused = server.command(*command)
                        assert refused.returncode == 2
                        assert refused.stderr == (
                            f"rapidflow: a restore to the data folder {server.data} runs; "
                            "wait until it has ended\n"
                        )
                return source.read(size)

        half = Meanwhile()
        settings = from_environment({"RAPIDFLOW_DATA": str(server.data)})
        backups.restore(settings, half, take_over=True)  # pyright: ignore[reportArgumentType]
        assert half.met
    server.start()
    # One that has only just begun has nothing that would be missed, but is in the way all the same.
    refused = server.command("restore", str(backup))
    assert refused.stderr.startswith("rapidflow: another server uses the data folder")
    server.stop()


def test_a_backup_without_a_database_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "b.tar", "w") as tar:
        for name, data in (("rapidflow-backup.json", b'{"format": 1}'), ("key", b"x" * 32), ("end", b"")):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    assert (
        refusal(tmp_path / "data", tmp_path / "b.tar")
        == "this backup has no database in it; take another one"
    )
    assert not (tmp_path / "data").exists()
