"""The Docker engine is restarted or killed while builds run."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.support import engine_api, images
from tests.support.consistency import assert_ended_once
from tests.support.machine import only_root
from tests.support.private_engine import PrivateEngine
from tests.support.server import Server, wait_for

pytestmark = only_root

_LINES = 300
COUNT = f"i=0; while [ $i -lt {_LINES} ]; do i=$((i+1)); echo line $i; sleep 0.02; done"
COUNTED = "".join(f"line {number}\n" for number in range(1, _LINES + 1))


@pytest.fixture(params=[True, False], ids=["live-restore", "usual"])
def engine(request: pytest.FixtureRequest) -> Iterator[PrivateEngine]:
    made = PrivateEngine(live_restore=request.param)
    made.load(images.ensure(images.BASH))
    yield made
    made.close()


@pytest.mark.parametrize("way", ["stopped", "killed"])
def test_builds_go_on_or_say_why_not_when_the_engine_is_restarted(
    engine: PrivateEngine,
    request: pytest.FixtureRequest,
    new_server: Callable[..., Server],
    monkeypatch: pytest.MonkeyPatch,
    way: str,
) -> None:
    images.ensure(images.BASH)
    monkeypatch.setenv("DOCKER_HOST", engine.host)
    server = new_server(default_image=images.BASH, concurrency="2", parked="2").start()
    runs = server.start_job({"name": "runs", "steps": [COUNT, "echo end"]})
    server.wait_output(runs, "line 20\n")
    follower = server.follow(runs)
    if way == "stopped":
        engine.stop()
    else:
        engine.kill()
    waits = server.start_job({"name": "waits", "steps": ["echo ran"]})
    wait_for(lambda: server.get("/ready").status == 503, "it is noticed")
    assert server.job(waits)["status"] in ("pending", "running")
    assert server.get("/").status == 200
    engine.start()

    details = server.wait_finished(runs, seconds=90)
    assert follower.wait().decode() == server.stream(runs)
    output = details["steps"][0]["output"]
    if details["job"]["status"] == "success":
        assert [step["output"] for step in details["steps"]] == [COUNTED, "end\n"]
    else:
        assert COUNTED.startswith(output)
        assert details["job"]["error"] in (
            "the engine stopped the build in step 1 (bash)",
            "the container ended during step 1 (bash) (exit code 137)",
            "the container ended during step 1 (bash) (exit code 143)",
            "the container ended during step 1 (bash) (exit code 255)",
            "the container ended during step 1 (bash) (exit code 0)",
        )
    # Containers outlive an engine that is killed, and with this setting one that is stopped.
    if "live-restore" in request.node.name:
        assert details["job"]["status"] == "success"
    assert server.wait_finished(waits, seconds=90)["steps"][0]["output"] == "ran\n"
    for job_id in (runs, waits):
        assert_ended_once(server, job_id)
    server.stop()
    # What was just being parked is left to the next start.
    server.start()
    wait_for(
        lambda: len(engine_api.ids(engine.host)) == server.parked() == 2,
        "all else is gone",
    )
    server.stop()
