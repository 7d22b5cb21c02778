"""Backup, doctor, retention and compression on a full disk: a sentence, and nothing lost or left over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.test_full_disk import fill
from tests.support.machine import only_root, small_disk
from tests.support.server import Server, wait_for

pytestmark = only_root


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", "48m"):
        yield tmp_path / "disk"


def with_builds(server: Server) -> list[int]:
    pipeline_id = server.pipeline({"name": "some", "steps": ["seq 20000"]})
    ids = [server.start_build(pipeline_id) for _ in range(3)]
    for job_id in ids:
        server.wait_finished(job_id)
    return ids


def test_doctor_does_not_wait_for_room_and_takes_no_full_disk_for_damage(
    disk: Path, new_server: Callable[..., Server], tmp_path: Path
) -> None:
    server = new_server("disk/data", executor="process").start()
    first, *_ = with_builds(server)
    unmended = (
        f"a step of job {first} is running, though the job has finished, and can't be mended: "
        "database or disk is full"
    )

    def says_that_there_is_no_room() -> bool:
        server.sql("UPDATE step SET status = 'running' WHERE job_id = ?", first)
        (server.data / "logs" / "0000" / "99.log").write_text("of no job")
        server.sql("PRAGMA wal_checkpoint(TRUNCATE)")
        ballast = fill(disk)
        done = server.command("doctor", "--fix")
        assert (done.returncode, done.stderr) == (1, "")
        assert "is full: 0 MiB are free" in done.stdout
        assert "mended: " in done.stdout  # what makes room
        if unmended in done.stdout:
            return True
        ballast.unlink()  # what the database has of the disk left room for the change
        return False

    wait_for(says_that_there_is_no_room, unmended)
    refused = server.command("backup", str(tmp_path / "b.tar"))
    assert refused.returncode == 2 and refused.stderr.startswith("rapidflow: ")
    assert not list(tmp_path.glob("b.tar*")) and not list(server.data.glob("backup-*"))
    server.stop()
    (disk / "ballast").unlink()
    ballast = fill(disk)
    for command in (["doctor"], ["doctor", "--fix"]):
        done = server.command(*command)
        assert (done.returncode, done.stderr) == (1, "")
        assert "damaged" not in done.stdout and "restore a backup" not in done.stdout
    ballast.unlink()
    assert server.command("doctor", "--fix").returncode == 0
    server.start()
    assert server.job(first)["status"] == "success"


def test_nothing_is_lost_when_retention_and_compression_find_no_room(
    disk: Path, new_server: Callable[..., Server]
) -> None:
    server = new_server("disk/data", executor="process", keep_builds="1").start()
    ids = with_builds(server)
    ballast = fill(disk)
    answer = server.post("/prune")
    assert answer.status in (200, 500, 503) and b"Traceback" not in answer.body
    if answer.status != 200:
        assert set(answer.json) == {"error"}
    assert server.get(f"/jobs/{ids[-1]}/logs/stream").body.endswith(b"=== Build completed ===\n")
    server.kill()
    ballast.unlink()
    server.start()
    assert server.post("/prune").status == 200
    assert [job["id"] for job in server.get("/jobs").json] == ids[-1:]
    assert not list(server.data.glob("logs/**/*.new"))
    assert "20000\n" in server.stream(ids[-1])
    wait_for(lambda: not list((server.data / "work").iterdir()), "what the killed server left is removed")
    server.stop()
    assert server.command("doctor").returncode == 0


def test_what_a_full_disk_prevents_names_it(
    disk: Path, new_server: Callable[..., Server], tmp_path: Path
) -> None:
    server = new_server("disk/data", executor="process").start()
    with_builds(server)
    server.stop()
    backup = tmp_path / "b.tar"
    assert server.command("backup", str(backup)).returncode == 0
    ballast = fill(disk)
    full = "rapidflow: {}: No space left on device\n"
    done = server.command("backup", str(disk / "b.tar"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "can't be opened: its disk is full (" in done.stderr
    done = server.command("user", "list")
    assert (done.returncode, "can't be opened: its disk is full (" in done.stderr) == (2, True)

    elsewhere = tmp_path / "elsewhere"
    server.data.rename(disk / "aside")
    ballast.unlink()
    assert server.command("restore", str(backup), more={"RAPIDFLOW_DATA": str(elsewhere)}).returncode == 0
    fill(disk)
    more = {"RAPIDFLOW_DATA": str(elsewhere)}
    assert server.command("backup", str(disk / "b.tar"), more=more).stderr == full.format(f"{disk}/b.tar")
    done = server.command("restore", str(backup))
    assert done.returncode == 2
    assert done.stderr.startswith(f"rapidflow: {server.data}") and done.stderr.endswith(
        ": No space left on device\n"
    )
    assert not server.data.exists() and not list(disk.glob("b.tar*"))
