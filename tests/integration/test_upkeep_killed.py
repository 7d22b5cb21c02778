"""Backups, compressions and prunes that are killed, or that meet each other."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rapidflow_web.db.database import connected, sqlite_url
from rapidflow_web.logs.log import LogStore
from rapidflow_web.maintenance.backup import back_up
from rapidflow_web.maintenance.backup_file import BackupError, left_over, scratch, written
from rapidflow_web.server.app import create_app
from rapidflow_web.settings import from_environment
from rapidflow_web.web.services import EXTENSION
from tests.support.kills import DONE, KILLED, done_or_killed
from tests.support.repos import Repo
from tests.support.server import Server, wait_for


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a server that has done three builds of a repository."""
    folder = tmp_path_factory.mktemp("built")
    repo = Repo(folder / "repos" / "kept")
    repo.commit({"a": "1"})
    server = Server(folder / "data", executor="process", file_roots=str(folder / "repos")).start()
    pipeline = server.pipeline({"name": "kept", "repo_name": repo.url, "steps": ["seq 1 30000"]})
    for _ in range(3):
        server.wait_finished(server.start_build(pipeline))
    server.stop()
    return server.data


@pytest.fixture
def stopped(new_server: Callable[..., Server], built: Path) -> Server:
    """A server that has done three builds of a repository and does not run."""
    server = new_server(executor="process", file_roots=str(built.parent / "repos"))
    shutil.copytree(built, server.data)
    return server


def assert_whole(server: Server) -> None:
    done = server.command("doctor")
    assert done.returncode == 0, done.stdout


def test_a_backup_that_is_killed_anywhere_leaves_nothing_behind_after_the_next(
    stopped: Server, tmp_path: Path
) -> None:
    target = tmp_path / "b.tar"
    settings = from_environment({"RAPIDFLOW_DATA": str(stopped.data)})

    def action(begin: Callable[[], None]) -> None:
        begin()
        with written(target) as output:
            asyncio.run(back_up(settings, output))

    deaths = 0
    while (code := done_or_killed(action, dies_at=deaths + 1)) != DONE:
        assert code == KILLED
        deaths += 1
        assert not target.exists()
        assert len(left_over(stopped.data)) <= 1, deaths
    assert deaths >= 5
    assert [path.name for path in tmp_path.glob("b.tar*")] == ["b.tar"]
    assert list(stopped.data.glob("backup-*")) == []
    assert_whole(stopped)
    target.unlink()
    # Also without another backup: what may be large goes with the next start of the server.
    assert done_or_killed(action, dies_at=deaths) == KILLED
    (stopped.data / "backup-by-rapidflow-x").mkdir()
    assert stopped.command("doctor").returncode == 1
    stopped.start()
    wait_for(lambda: not list(stopped.data.glob("backup-*")), "nothing is left over")
    assert_whole(stopped)


def test_a_backup_takes_no_file_of_somebody_else_for_its_own(stopped: Server, tmp_path: Path) -> None:
    target, fresh, other = tmp_path / "b.tar", tmp_path / "b.tar.new", tmp_path / "other"
    other.write_text("mine")
    for make in (lambda: fresh.write_text("mine"), lambda: fresh.symlink_to(other), fresh.mkdir):
        make()
        refused = stopped.command("backup", str(target))
        assert (refused.returncode, refused.stderr) == (
            2,
            f"rapidflow: {fresh} is there and is no backup that was cut short; "
            "move it away, or name another file\n",
        )
        assert other.read_text() == "mine" and not target.exists()
        if fresh.is_dir():
            fresh.rmdir()
        else:
            assert fresh.read_text() == "mine"
            fresh.unlink()


def test_of_two_backups_to_one_file_one_writes_it(stopped: Server, tmp_path: Path) -> None:
    target = tmp_path / "b.tar"
    with written(target) as output:
        refused = stopped.command("backup", str(target))
        assert refused.stderr == f"rapidflow: another backup is written to {target}; name another file\n"
        output.write(b"first")
    assert target.read_bytes() == b"first"
    with pytest.raises(BackupError, match="cut short"), written(target.with_name("other")):
        # Whatever has been written meanwhile under this name.
        raise BackupError("cut short")
    assert [path.name for path in tmp_path.glob("*other*")] == []


def test_a_backup_and_doctor_leave_the_folder_of_a_backup_that_runs(stopped: Server, tmp_path: Path) -> None:
    with scratch(stopped.data) as folder:
        (folder / "rapidflow.db").touch()
        assert stopped.command("backup", str(tmp_path / "b.tar")).returncode == 0
        assert stopped.command("doctor", "--fix").returncode == 0
        assert (folder / "rapidflow.db").exists()
    assert list(stopped.data.glob("backup-*")) == []


def test_a_compression_that_is_killed_anywhere_is_done_again(stopped: Server, built: Path) -> None:
    logs, saved = stopped.data / "logs", built / "logs"
    expected = (logs / "0000/1.log").read_bytes()

    def action(begin: Callable[[], None]) -> None:
        begin()
        LogStore(logs).compress(1)

    deaths = 0
    while (code := done_or_killed(action, dies_at=deaths + 1)) != DONE:
        assert code == KILLED
        deaths += 1
        # One that is pruned takes with it what the killed one left.
        LogStore(logs).delete(1)
        assert list(logs.glob("0000/1.*")) == [], deaths
        shutil.copytree(saved, logs, dirs_exist_ok=True)
        assert done_or_killed(action, dies_at=deaths) == KILLED
        assert done_or_killed(action) == DONE
        assert not list(logs.glob("0000/*.new")), deaths
        log = LogStore(logs).open(1)
        assert asyncio.run(log.read(0, log.size)) == expected, deaths
        shutil.rmtree(logs)
        shutil.copytree(saved, logs)
    assert deaths >= 3
    stopped.start()
    assert "30000\n" in stopped.stream(1)
    assert_whole(stopped)


def test_a_prune_that_is_killed_anywhere_comes_to_its_end_after_the_next_start(
    stopped: Server, built: Path
) -> None:
    (mirror,) = (stopped.data / "mirrors").iterdir()
    os.utime(mirror / "rapidflow-used", (0, 0))
    rules = {"keep_builds": "1", "keep_mirrors": "1k"}
    settings = from_environment(
        {
            "RAPIDFLOW_DATA": str(stopped.data),
            "RAPIDFLOW_EXECUTOR": "process",
            **{f"RAPIDFLOW_{key.upper()}": value for key, value in rules.items()},
        }
    )

    def action(begin: Callable[[], None]) -> None:
        async def prune() -> None:
            maintenance = create_app(settings).extensions[EXTENSION].maintenance
            async with connected(sqlite_url(stopped.data / "rapidflow.db")):
                begin()
                await maintenance.prune()

        asyncio.run(prune())

    deaths, seen = 1, set[str]()
    while (code := done_or_killed(action, dies_at=deaths)) != DONE:
        assert code == KILLED
        stopped.start()
        assert stopped.get("/jobs/3").status == 200 and "30000\n" in stopped.stream(3)
        there = {job_id for job_id in (1, 2) if stopped.get(f"/jobs/{job_id}").status == 200}
        for job_id in there:
            assert "30000\n" in stopped.stream(job_id)
        wait_for(lambda: not list(stopped.data.glob("removing.*")), "what was begun is done")
        logs = (stopped.data / "logs").glob("0000/*.log*")
        assert {int(path.name.partition(".")[0]) for path in logs} == there | {3}
        assert not list((stopped.data / "mirrors").glob("*.new"))
        seen.add(f"{sorted(there)} {mirror.exists()}")
        # The repository can be built, from what is left of its mirror.
        stopped.wait_finished(stopped.start_build(1))
        assert stopped.job(4)["status"] == "success"
        stopped.stop()
        assert_whole(stopped)
        shutil.rmtree(stopped.data)
        shutil.copytree(built, stopped.data)
        os.utime(mirror / "rapidflow-used", (0, 0))
        deaths += 5
    assert {"[1, 2] True", "[] False"} <= seen <= {"[1, 2] True", "[] True", "[] False"}
