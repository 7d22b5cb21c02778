"""Backup and restore, while builds run."""

from __future__ import annotations

import io
import shutil
import sqlite3
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.consistency import assert_nothing_left
from tests.support.postgres import Postgres
from tests.support.server import Server

COUNT = "i=0; while [ $i -lt 400 ]; do i=$((i+1)); echo line $i; sleep 0.02; done"


def everything(server: Server, job_id: int) -> list[bytes]:
    """What a server says of a job that has finished."""
    paths = ("", "/details", "/logs", "/logs/stream", "/steps", "/timeline")
    return [server.get(f"/jobs/{job_id}{path}").body for path in paths]


def filled(server: Server) -> list[int]:
    """Runs some builds to their ends."""
    good = server.run({"name": "good", "env": {"A": "1"}, "steps": ["seq 1 30000", "printf end"]})
    bad = server.run({"name": "bad", "steps": ["echo out; exit 3", "true"]})
    return [good["job"]["id"], bad["job"]["id"]]


def test_a_backup_beside_a_running_server_restores_every_build(
    new_server: Callable[..., Server], tmp_path: Path
) -> None:
    server = new_server().start()
    finished = filled(server)
    before = [everything(server, job_id) for job_id in finished]
    running = server.start_job({"name": "running", "steps": ["echo first", COUNT, "echo last"]})
    server.wait_output(running, "line 20\n")
    target = tmp_path / "backup.tar"
    done = server.command("backup", str(target))
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert done.stderr == f"3 builds of {server.data} backed up to {target}\n"
    assert target.stat().st_mode & 0o077 == 0
    assert not list(server.data.glob("backup-*"))

    restored = new_server("restored")
    assert restored.command("restore", str(target)).returncode == 0
    # Beside the other server, whose builds go on.
    restored.start()
    assert [everything(restored, job_id) for job_id in finished] == before
    details = restored.wait_finished(running)
    assert details["job"]["error"] == "the container of the build was gone when the server started again"
    assert details["steps"][0]["output"] == "first\n"
    assert details["steps"][1]["output"].startswith("line 1\nline 2\n")
    assert restored.stream(running).endswith("=== Build completed ===\n")
    assert restored.run({"name": "new", "steps": ["echo new"]})["job"]["id"] == running + 1

    assert server.wait_finished(running)["job"]["status"] == "success"
    assert_nothing_left(server)
    assert_nothing_left(restored)


def test_a_server_that_takes_over_goes_on_with_the_builds(
    new_server: Callable[..., Server], tmp_path: Path
) -> None:
    server = new_server().start()
    running = server.start_job({"name": "running", "steps": ["echo first", COUNT, "echo last"]})
    server.wait_output(running, "line 20\n")
    assert server.command("backup", str(tmp_path / "backup.tar")).returncode == 0
    server.wait_output(running, "line 60\n")
    server.kill()
    shutil.rmtree(server.data)  # the disk is lost
    assert server.command("restore", "--take-over", str(tmp_path / "backup.tar")).returncode == 0
    server.start()
    details = server.wait_finished(running)
    assert details["job"]["status"] == "success"
    lines = "".join(f"line {number}\n" for number in range(1, 401))
    assert [step["output"] for step in details["steps"]] == ["first\n", lines, "last\n"]
    assert_nothing_left(server)


def test_a_backup_passes_through_a_pipe(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process").start()
    before = [everything(server, job_id) for job_id in filled(server)]
    server.stop()
    restored = new_server("restored", executor="process")
    packed = server.pipe("backup", "-")
    restored.pipe("restore", "-", given=packed)
    restored.start()
    assert [everything(restored, job_id) for job_id in (1, 2)] == before


def test_compressed_logs_are_backed_up_as_they_are(new_server: Callable[..., Server], tmp_path: Path) -> None:
    server = new_server(executor="process").start()
    before = [everything(server, job_id) for job_id in filled(server)]
    server.stop()
    _compress_all(server)
    assert server.command("backup", str(tmp_path / "b.tar")).returncode == 0
    with tarfile.open(tmp_path / "b.tar") as tar:
        assert "logs/0000/1.log.zst" in tar.getnames()
    restored = new_server("restored", executor="process")
    assert restored.command("restore", str(tmp_path / "b.tar")).returncode == 0
    restored.start()
    assert [everything(restored, job_id) for job_id in (1, 2)] == before


def _compress_all(server: Server) -> None:
    from rapidflow_web.logs.log import LogStore

    for path in list((server.data / "logs").glob("*/*.log")):
        LogStore(server.data / "logs").compress(int(path.stem))


@pytest.fixture
def two_postgres(kept_postgres: Path) -> Iterator[tuple[Postgres, Postgres]]:
    """Two database servers without tables."""
    both = (Postgres(kept_postgres, tables=False), Postgres(kept_postgres, tables=False))
    yield both
    for one in both:
        one.close()


def test_a_backup_holds_a_postgres_database(
    new_server: Callable[..., Server],
    two_postgres: tuple[Postgres, Postgres],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", f"{two_postgres[0].programs}:/usr/bin:/bin")
    server = new_server(executor="process", database_url=two_postgres[0].url).start()
    before = [everything(server, job_id) for job_id in filled(server)]
    done = server.command("backup", str(tmp_path / "b.tar"))
    assert done.returncode == 0, done.stderr
    restored = new_server("restored", executor="process", database_url=two_postgres[1].url)
    done = restored.command("restore", str(tmp_path / "b.tar"))
    assert done.returncode == 0, done.stderr
    restored.start()
    assert [everything(restored, job_id) for job_id in (1, 2)] == before
    assert restored.run({"name": "new", "steps": ["echo new"]})["job"]["id"] == 3
    third = new_server("third", executor="process")
    refused = third.command("restore", str(tmp_path / "b.tar"))
    assert (refused.returncode, refused.stderr) == (
        2,
        "rapidflow: this backup is of a PostgreSQL database; set RAPIDFLOW_DATABASE_URL to an empty one\n",
    )
    assert not third.data.exists()
    third.set(database_url=two_postgres[1].url)
    refused = third.command("restore", str(tmp_path / "b.tar"))
    assert refused.returncode == 2
    assert refused.stderr.startswith("rapidflow: the PostgreSQL database has tables already, perhaps from a ")
    assert not third.data.exists()
    two_postgres[1].sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    done = third.command("restore", str(tmp_path / "b.tar"))
    assert done.returncode == 0, done.stderr


# What is refused.


def tar_of(*names: str, manifest: bytes = b'{"format": 1}') -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name in names:
            entry = tarfile.TarInfo(name)
            data = manifest if name == "rapidflow-backup.json" else b""
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return packed.getvalue()


MANIFEST = "rapidflow-backup.json"


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "this is not a backup, or it is damaged: empty file"),
        (b"no tar at all" * 100, "this is not a backup, or it is damaged:"),
        (tar_of("a"), "this is not a backup of RapidFlow Web"),
        (tar_of(MANIFEST, manifest=b"x"), "this is not a backup of RapidFlow Web"),
        (
            tar_of(MANIFEST, manifest=b'{"format": 9, "version": "9.0"}'),
            "this backup was made by version 9.0, in a format that is not known here; ",
        ),
        (tar_of(MANIFEST, "key"), "this backup is cut off; its end is missing"),
        (tar_of(MANIFEST, "../evil", "end"), "this backup has a file that none has: '../evil'"),
        (tar_of(MANIFEST, "/etc/evil", "end"), "this backup has a file that none has: '/etc/evil'"),
    ],
)
def test_what_is_no_backup_is_refused_with_a_sentence_and_changes_nothing(
    new_server: Callable[..., Server], tmp_path: Path, data: bytes, sentence: str
) -> None:
    (tmp_path / "file").write_bytes(data)
    server = new_server(executor="process")
    done = server.command("restore", str(tmp_path / "file"))
    assert done.returncode == 2
    assert done.stderr.startswith(f"rapidflow: {sentence}")
    assert done.stderr.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_a_backup_that_was_cut_off_is_refused(new_server: Callable[..., Server], tmp_path: Path) -> None:
    server = new_server(executor="process").start()
    filled(server)
    assert server.command("backup", str(tmp_path / "b.tar")).returncode == 0
    whole = (tmp_path / "b.tar").read_bytes()
    restored = new_server("restored", executor="process")
    for size in (len(whole) // 2, len(whole) - 20_000):
        (tmp_path / "cut.tar").write_bytes(whole[:size])
        done = restored.command("restore", str(tmp_path / "cut.tar"))
        assert done.returncode == 2, size
        assert not restored.data.exists()


def test_no_backup_is_made_of_a_damaged_database(new_server: Callable[..., Server], tmp_path: Path) -> None:
    server = new_server(executor="process").start()
    server.run({"name": "some", "steps": ["echo some"]})
    server.stop()
    with closing(sqlite3.connect(server.data / "rapidflow.db")) as database:
        page = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'step'").fetchone()[0]
        size = database.execute("PRAGMA page_size").fetchone()[0]
    with (server.data / "rapidflow.db").open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(bytes([7]) * size)
    refused = server.command("backup", str(tmp_path / "b.tar"))
    assert refused.returncode == 2
    assert refused.stderr.startswith("rapidflow: the database is damaged (")
    assert refused.stderr.endswith("), so no backup is made; keep the last one, and see 'rapidflow doctor'\n")
    assert not list(tmp_path.glob("b.tar*")) and not list(server.data.glob("backup-*"))


def test_nothing_is_overwritten(new_server: Callable[..., Server], tmp_path: Path) -> None:
    server = new_server(executor="process").start()
    (tmp_path / "there.tar").write_bytes(b"mine")
    refused = server.command("backup", str(tmp_path / "there.tar"))
    assert (refused.returncode, (tmp_path / "there.tar").read_bytes()) == (2, b"mine")
    refused = server.command("backup", str(tmp_path))
    assert refused.stderr.startswith(f"rapidflow: {tmp_path} is a folder; name a file, such as {tmp_path}/")
    refused = server.command("backup", str(tmp_path / "no" / "b.tar"))
    assert refused.stderr == (
        f"rapidflow: there is no folder {tmp_path / 'no'}; make it, or name a file in another\n"
    )
    assert server.command("backup", str(tmp_path / "b.tar")).returncode == 0
    refused = server.command("restore", str(tmp_path / "b.tar"))
    assert refused.stderr == (
        f"rapidflow: another server uses the data folder {server.data}; stop it, or set RAPIDFLOW_DATA.\n"
    )
    server.stop()
    refused = server.command("restore", str(tmp_path / "b.tar"))
    assert refused.stderr == (
        f"rapidflow: the data folder {server.data} is in use; move it away first, "
        "or set RAPIDFLOW_DATA to another\n"
    )
    mine = new_server("mine", executor="process")
    (mine.data / "photos").mkdir(parents=True)
    assert "is in use; move it away first" in mine.command("restore", str(tmp_path / "b.tar")).stderr
    assert [path.name for path in mine.data.iterdir()] == ["photos"]
    failed = new_server("failed", executor="process", database_url="sqlite:////dev/null/x.db")
    with pytest.raises(AssertionError, match="the server ended"):
        failed.start()
    del failed  # what its start left is nothing that anybody kept
    begun = new_server("failed", executor="process")
    assert begun.data.exists()
    assert begun.command("restore", str(tmp_path / "b.tar")).returncode == 0
    nothing = new_server("nothing", executor="process")
    refused = nothing.command("backup", str(tmp_path / "n.tar"))
    assert refused.stderr == (
        f"rapidflow: there is nothing to back up in {nothing.data}; set RAPIDFLOW_DATA as for the server\n"
    )
    assert not nothing.data.exists()
    with Path("/dev/full").open("wb") as full:
        refused = server.command("backup", "-", stdout=full)
    assert (refused.returncode, refused.stderr) == (2, "rapidflow: No space left on device\n")
    assert not list(tmp_path.glob("*.new"))


def test_a_backup_of_builds_that_are_being_written_is_whole(
    new_server: Callable[..., Server], tmp_path: Path
) -> None:
    server = new_server().start()
    flood = server.start_job({"name": "flood", "steps": ["i=0; while :; do echo $((i+=1)); done"]})
    server.wait_output(flood, "\n1000\n")
    for number in range(2):
        target = tmp_path / f"{number}.tar"
        assert server.command("backup", str(target)).returncode == 0
        restored = new_server(f"restored-{number}")
        assert restored.command("restore", str(target)).returncode == 0
        restored.start()
        output = restored.wait_finished(flood)["steps"][0]["output"]
        lines = output.split("\n")
        whole = [str(line) for line in range(1, len(lines))]
        assert lines[:-1] == whole and str(len(lines)).startswith(lines[-1])
        restored.stop()
    assert server.post(f"/jobs/{flood}/cancel").status == 200
