"""The whole server with the process executor: builds without Docker."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.builds import WAIT, processes_of
from tests.support.consistency import assert_ended_once, assert_nothing_left
from tests.support.repos import Repo
from tests.support.resuming import ResumingFollower
from tests.support.server import Server, wait_for

COUNT = "i=0; while [ $i -lt {lines} ]; do i=$((i+1)); echo line $i; sleep 0.005; done"


def counted(lines: int) -> str:
    return "".join(f"line {number}\n" for number in range(1, lines + 1))


@pytest.fixture
def server(new_server: Callable[..., Server]) -> Server:
    return new_server(executor="process").start()


def outputs(details: dict[str, Any]) -> list[str]:
    return [step["output"] for step in details["steps"]]


def test_steps_share_a_workspace_with_the_source(server: Server, repo: Repo) -> None:
    commit = repo.commit({"app/main.txt": "source\n"})
    details = server.run(
        {
            "name": "process",
            "repo_name": repo.url,
            "folder": "app",
            "env": {"GREETING": "hello"},
            "steps": [
                "cat main.txt; echo kept >kept",
                "cat kept; echo $GREETING $CI",
                "echo $RAPIDFLOW_COMMIT",
            ],
        }
    )
    assert details["job"]["status"] == "success"
    assert outputs(details) == ["source\n", "kept\nhello true\n", f"{commit}\n"]
    assert_ended_once(server, details["job"]["id"])
    assert_nothing_left(server)


def test_a_build_sees_nothing_of_the_servers_environment(server: Server) -> None:
    details = server.run({"name": "env", "steps": ["env | cut -d= -f1 | sort"]})
    names = set(details["steps"][0]["output"].split())
    assert "RAPIDFLOW_WORKSPACE" in names
    assert not names & {"RAPIDFLOW_BIND", "RAPIDFLOW_DATA", "RAPIDFLOW_EXECUTOR", "VIRTUAL_ENV", "PYTHONPATH"}


def test_a_step_that_fails_ends_the_build(server: Server) -> None:
    details = server.run({"name": "fails", "steps": ["echo one", "exit 7", "echo never"]})
    assert details["job"]["error"] == "step 2 (bash) exited with 7"
    assert [step["status"] for step in details["steps"]] == ["success", "failed", "pending"]
    assert_ended_once(server, details["job"]["id"])


def test_megabytes_arrive_byte_for_byte(server: Server) -> None:
    details = server.run({"name": "much", "steps": ["seq 1000000"]})
    assert outputs(details) == ["".join(f"{number}\n" for number in range(1, 1000001))]


def test_a_cancelled_build_cleans_up_and_leaves_no_process(server: Server) -> None:
    step = f"setsid sleep 1000 & trap 'echo cleaned; exit 0' TERM; echo ready; {WAIT}"
    job_id = server.start_job({"name": "cancel", "steps": [step, "echo never"]})
    server.wait_output(job_id, "ready\n")
    assert server.post(f"/jobs/{job_id}/cancel").status == 200
    assert processes_of(server.data / "work") == []
    details = assert_ended_once(server, job_id)
    assert details["steps"][0]["output"] == "ready\ncleaned\n"
    assert [step["status"] for step in details["steps"]] == ["cancelled", "cancelled"]
    assert_nothing_left(server)


def test_a_build_that_takes_too_long_is_stopped_with_all_its_processes(
    new_server: Callable[..., Server],
) -> None:
    server = new_server(executor="process", grace="0").start()
    step = "trap '' TERM; env -i sleep 1000 & (setsid sleep 1000 &); echo ready; sleep 1000"
    details = server.run({"name": "slow", "timeout": "1s", "steps": [step]})
    assert details["job"]["error"] == "the build timed out after 1s"
    assert processes_of(server.data / "work") == []


def test_processes_that_a_build_leaves_behind_end_with_it(server: Server) -> None:
    details = server.run({"name": "left", "steps": ["(setsid sleep 1000 &); sleep 1000 & echo done"]})
    assert details["job"]["status"] == "success"
    wait_for(lambda: processes_of(server.data / "work") == [], "all processes are gone")


def test_an_agent_that_is_killed_fails_the_build(server: Server) -> None:
    # The parent of a step is not the agent itself, whose number is the first in this file.
    kill = 'kill -9 "$(cut -d " " -f 1 "$RAPIDFLOW_WORKSPACE/../rapidflow/pid")"'
    details = server.run({"name": "killed", "steps": [f"echo before; {kill}; sleep 1000"]})
    assert details["job"]["status"] == "failed"
    assert details["job"]["error"] == "the process of the build ended during step 1 (bash) (exit code -9)"
    assert processes_of(server.data / "work") == []


def test_a_step_that_removes_the_pipe_of_the_agent_does_not_hold_up_the_next(server: Server) -> None:
    remove = 'rm "$RAPIDFLOW_WORKSPACE/../rapidflow/in"'
    details = server.run({"name": "removed", "timeout": "20s", "steps": [remove, "echo on"]})
    assert outputs(details) == ["", "on\n"], details["job"]["error"]


@pytest.mark.parametrize("text", ["", "line 20\n", "=== Step 2", "second\n"])
def test_a_build_survives_a_server_that_is_killed(server: Server, tmp_path: Path, text: str) -> None:
    ran = tmp_path / "ran"
    steps = [
        f"echo first >>{ran}; {COUNT.format(lines=60)}",
        f"echo second >>{ran}; echo second; sleep 0.1",
        f"echo third >>{ran}; {COUNT.format(lines=40)}",
    ]
    job_id = server.start_job({"name": "killed", "steps": steps})
    follower = ResumingFollower(server, job_id)
    server.wait_output(job_id, text)
    server.kill()
    server.start()
    details = server.wait_finished(job_id)
    assert details["job"]["error"] is None
    assert outputs(details) == [counted(60), "second\n", counted(40)]
    assert ran.read_text() == "first\nsecond\nthird\n"
    assert follower.wait() == server.get(f"/jobs/{job_id}/logs/stream").body
    assert_ended_once(server, job_id)
    assert_nothing_left(server)
    assert processes_of(server.data / "work") == []


def test_a_build_goes_on_when_the_server_ends_and_starts_again(server: Server) -> None:
    job_id = server.start_job({"name": "restart", "steps": [COUNT.format(lines=150), "echo second"]})
    server.wait_output(job_id, "line 5\n")
    assert server.stop() < 10
    assert processes_of(server.data / "work") != []
    server.start()
    details = server.wait_finished(job_id)
    assert outputs(details) == [counted(150), "second\n"]
    assert_ended_once(server, job_id)
    assert_nothing_left(server)


def test_a_build_whose_agent_died_with_the_server_fails(server: Server) -> None:
    job_id = server.start_job({"name": "both", "steps": ["echo ready; sleep 0.1; echo more; sleep 1000"]})
    server.wait_output(job_id, "more\n")
    server.kill()
    pid = (server.data / "work" / str(job_id) / "rapidflow" / "pid").read_text().split()[0]
    os.kill(int(pid), signal.SIGKILL)
    server.start()
    details = server.wait_finished(job_id)
    assert details["job"]["error"] == "the process of the build ended during step 1 (bash)"
    assert details["steps"][0]["output"] == "ready\nmore\n"
    assert processes_of(server.data / "work") == []
    assert_ended_once(server, job_id)


def test_the_health_says_which_executor_runs(server: Server) -> None:
    assert server.get("/health").json["executor"] == "process"
