"""Builds that want more than they may."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable

from tests.support.consistency import assert_ended_once, assert_nothing_left
from tests.support.server import Server

HOG = 'exec 2>&-\na=x\nwhile :; do a="$a$a"; done\n'


def test_a_build_gets_no_more_memory_than_it_may(server: Server) -> None:
    details = server.run({"name": "hog", "memory": "32m", "steps": [HOG, "echo never"]})
    assert details["job"]["status"] == "failed"
    assert details["job"]["error"] == "step 1 (bash) ran out of memory (limit 32m)"


def test_a_build_gets_no_more_processes_than_it_may(server: Server) -> None:
    step = "for n in $(seq 100); do sleep 100 & done"
    details = server.run({"name": "forks", "processes": 20, "steps": [step]})
    assert details["job"]["status"] == "failed"
    assert "fork" in details["steps"][0]["output"]


def test_a_build_gets_the_shared_memory_that_it_asks_for(new_server: Callable[..., Server]) -> None:
    server = new_server(shm="2m").start()
    step = "df -k /dev/shm | tail -n 1 | awk '{ print $2 }'"
    sizes = [
        server.run({"name": "shm", "steps": [step], **more})["steps"][0]["output"]
        for more in ({}, {"shm": "100m"})
    ]
    assert sizes == ["2048\n", "102400\n"]


def test_a_build_gets_the_cpus_it_may(server: Server) -> None:
    step = "cat /sys/fs/cgroup/cpu.max 2>/dev/null || cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us"
    details = server.run({"name": "cpus", "cpus": 0.5, "steps": [step]})
    assert details["steps"][0]["output"].split()[0] == "50000"


def test_a_step_that_is_silent_for_too_long_ends_the_build(server: Server) -> None:
    steps = ["for n in 1 2 3; do echo $n; sleep 0.7; done", "echo one; sleep 1000"]
    details = server.run({"name": "silent", "silence_timeout": "2s", "steps": steps})
    assert details["steps"][0]["status"] == "success"
    assert details["job"]["error"] == "step 2 (bash) printed nothing for 2s"
    assert details["steps"][1]["output"] == "one\n"


def test_an_over_long_log_keeps_its_beginning_and_its_end_through_a_killed_server(
    new_server: Callable[..., Server],
) -> None:
    server = new_server(max_log_limit="256k").start()
    script = "seq 100000; until [ -e /tmp/go ]; do sleep 0.05; done; seq 100001 200000"
    job_id = server.start_job({"name": "long", "steps": [script, "echo the end"]})
    follower = server.follow(job_id)
    follower.wait_for(b"\n10000\n")
    server.kill()
    server.start()
    container = server.job(job_id)["container_id"]
    assert container
    subprocess.run(["docker", "exec", container, "touch", "/tmp/go"], check=True)
    details = server.wait_finished(job_id)
    assert details["job"]["status"] == "success"
    output = details["steps"][0]["output"]
    left_out = re.search(r"\n=== ([0-9,]+) bytes are left out: the log may have at most 256k ===\n", output)
    assert left_out is not None
    beginning, end = output[: left_out.start()], output[left_out.end() :]
    assert beginning == "".join(f"{n}\n" for n in range(1, 200_001))[: len(beginning)]
    lines = end.splitlines()
    assert lines == [str(n) for n in range(200_001 - len(lines), 200_001)]
    whole = sum(len(str(n)) + 1 for n in range(1, 200_001))
    assert len(beginning) + len(end) + int(left_out[1].replace(",", "")) == whole
    assert len(output) < 257 * 1024
    assert details["steps"][1]["output"] == "the end\n"
    assert_ended_once(server, job_id)
    assert_nothing_left(server)
    follower.close()


def test_a_pipeline_that_asks_for_more_than_the_most_is_refused(new_server: Callable[..., Server]) -> None:
    server = new_server(max_memory="1g", executor="process").start()
    answer = server.post("/pipelines", {"config": "name: greedy\nmemory: 2g\nsteps: [ls]\n"})
    assert answer.status == 422
    assert answer.json["error"] == "line 2, column 9: 'memory' may be at most 1g on this server"
