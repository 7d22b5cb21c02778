"""The clock of the machine jumps while builds run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from tests.support.builds import engine
from tests.support.consistency import assert_ended_once, assert_nothing_left
from tests.support.server import COMMAND, Server, wait_for

_LIBRARY = "faketime/libfaketimeMT.so.1"


class Clock:
    """What a server that is started with it takes for the time of day."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.jump("+0")

    def jump(self, offset: str) -> None:
        """Sets it, e.g. "+2d" to the day after tomorrow."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{offset}\n")
        fresh.rename(self._file)


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clock:
    # In the folder of the architecture, as Debian has it, or not.
    library, *_ = [*Path("/usr").glob(f"lib/*/{_LIBRARY}"), *Path("/usr").glob(f"lib*/{_LIBRARY}")]
    monkeypatch.setenv("LD_PRELOAD", str(library))
    monkeypatch.setenv("FAKETIME_TIMESTAMP_FILE", str(tmp_path / "clock"))
    monkeypatch.setenv("FAKETIME_CACHE_DURATION", "1")
    monkeypatch.setenv("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    return Clock(tmp_path / "clock")


def _wait_until_noticed(server: Server, offset: timedelta) -> None:
    """The library looks at its file once in a second."""

    def is_near() -> bool:
        said = parsedate_to_datetime(server.get("/health").headers["date"])
        return abs(said - datetime.now(UTC) - offset) < timedelta(hours=1)

    wait_for(is_near, f"the server's clock is off by {offset}")


def _said(server: Server, job_id: int) -> datetime:
    return datetime.fromisoformat(server.job(job_id)["started_at"])


@pytest.mark.parametrize("executor", ["docker", "process"])
def test_builds_do_not_care_when_the_clock_jumps(
    new_server: Callable[..., Server],
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    executor: str,
) -> None:
    assert shutil.which("faketime")
    server = new_server(executor=executor, concurrency="1", keep_age="1d")
    # The library is loaded when a program is executed.
    server.program = COMMAND
    for name in (
        "LD_PRELOAD",
        "FAKETIME_TIMESTAMP_FILE",
        "FAKETIME_CACHE_DURATION",
        "FAKETIME_DONT_FAKE_MONOTONIC",
    ):
        monkeypatch.delenv(name)
    server.start()
    old = server.run({"name": "old", "steps": ["exit 1"]})["job"]["id"]
    # However long the server takes to notice the jumps, the build goes on until it is let go.
    let_go = Path("/let-go") if executor == "docker" else tmp_path / "let-go"
    step = f"echo ready; i=0; until [ -e {let_go} ]; do i=$((i+1)); echo line $i; sleep 0.1; done"
    running = server.start_job({"name": "running", "timeout": "1h", "steps": [step, "echo end"]})
    waiting = server.start_job({"name": "waiting", "steps": ["echo waited"]})
    server.wait_output(running, "ready\n")
    follower = server.follow(running)
    clock.jump("+2d")
    _wait_until_noticed(server, timedelta(days=2))
    server.wait_output(running, "line 5\n")
    assert server.get("/").status == server.get(f"/ui/jobs/{running}").status == 200
    # A server that is started meanwhile does not take the build for one that has been running for days.
    server.kill()
    server.start()
    server.wait_output(running, "line 20\n")
    clock.jump("-3d")
    _wait_until_noticed(server, timedelta(days=-3))
    if executor == "docker":
        engine("exec", server.job(running)["container_id"], "touch", str(let_go))
    else:
        let_go.touch()
    details = server.wait_finished(running)
    assert (details["job"]["status"], details["job"]["error"]) == ("success", None)
    assert server.wait_finished(waiting)["steps"][0]["output"] == "waited\n"
    assert _said(server, waiting) < datetime.now(UTC) - timedelta(days=2)
    after = server.run({"name": "after", "steps": ["echo after"]})["job"]["id"]
    assert [job["id"] for job in server.get("/jobs").json] == [after, waiting, running, old]
    for job_id in (running, waiting, after):
        assert_ended_once(server, job_id)
        assert server.get(f"/ui/jobs/{job_id}").status == 200
    # Nothing was removed by itself because a clock was wrong.
    assert server.get(f"/jobs/{old}").status == 200
    follower.close()
    assert_nothing_left(server)
