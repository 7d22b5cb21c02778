"""What many small builds cost, and what containers cost that wait for builds."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from bench import start
from bench.table import Row, median
from tests.support.server import Server, containers_of, wait_for

_BUILDS = 100
_AT_ONCE = 20
_IDLE_SECONDS = 20


def many_small(_: Server, image: str) -> Row:
    """Builds per second, four and eight at once, until all is removed, against as many `docker run --rm`."""
    ratios, words, costs = list[float](), list[str](), list[float]()
    for at_once in (4, 8):
        with tempfile.TemporaryDirectory() as name:
            server = Server(Path(name) / "data", default_image=image, concurrency=str(at_once)).start()
            try:
                pipeline = server.pipeline({"name": "small", "image": image, "steps": ["true"]})
                server.wait_finished(server.start_build(pipeline))
                raw, raw_cpu = _timed(partial(_docker_runs, image, at_once))
                ours, our_cpu = _timed(partial(_builds, server, pipeline))
            finally:
                server.stop()
        ratios.append(raw / ours)
        costs.append(our_cpu / raw_cpu)
        words.append(f"{at_once} at once {_BUILDS / ours:.1f}/s for {_BUILDS / raw:.1f}/s")
    return Row(
        f"{_BUILDS} small builds",
        "0.85 of docker run --rm; CPU at most 1.2 of it",
        f"{min(ratios):.2f} of docker run; CPU {max(costs):.2f} of it",
        "; ".join(words),
        min(ratios) >= 0.85 and max(costs) <= 1.2,
    )


def _builds(server: Server, pipeline: int) -> None:
    job_ids = [server.start_build(pipeline) for _ in range(_BUILDS)]
    for job_id in job_ids:
        server.wait_finished(job_id, seconds=300)
    made = {server.job(job_id)["container_id"] for job_id in job_ids}
    # What the pool parks afterwards is for builds to come.
    wait_for(lambda: not made & set(containers_of(server)), "all is removed", 60)


def _docker_runs(image: str, at_once: int) -> None:
    command = ["docker", "run", "--rm", "--network", "rapidflow-builds", image, "true"]
    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(lambda _: subprocess.run(command, check=True, capture_output=True), range(_BUILDS)))


def _timed(work: Callable[[], None]) -> tuple[float, float]:
    """Seconds that `work` takes, and CPU seconds of the whole machine meanwhile."""
    begin, busy = time.perf_counter(), _busy()
    work()
    return time.perf_counter() - begin, _busy() - busy


def _busy() -> float:
    words = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    user, nice, system, _, _, irq, softirq, *_ = (int(word) for word in words)
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def at_once(_: Server, image: str) -> Row:
    """As many builds at once as there are parked containers, until the last has said something."""
    with tempfile.TemporaryDirectory() as name:
        server = Server(
            Path(name) / "data", default_image=image, concurrency=str(_AT_ONCE), parked=str(_AT_ONCE)
        ).start()
        try:
            pipeline = server.pipeline(
                {"name": "burst", "image": image, "steps": ["echo first-output; sleep 2"]}
            )
            with ThreadPoolExecutor(_AT_ONCE) as threads:
                list(threads.map(lambda _: start.build(server, pipeline), range(_AT_ONCE)))
                wait_for(lambda: server.parked() == _AT_ONCE, "all are parked", 120)
                time.sleep(2)
                delays = list(threads.map(lambda _: start.build(server, pipeline), range(_AT_ONCE)))
        finally:
            server.stop()
    return Row(
        f"{_AT_ONCE} builds at once, {_AT_ONCE} parked",
        "all first outputs within 1,500 ms",
        f"median {median(delays):.0f} ms, last {max(delays):.0f} ms",
        "",
        max(delays) <= 1500,
    )


def idle(_: Server, image: str) -> Row:
    """What a parked container costs while nothing is built: CPU time, and memory with its shim."""
    with tempfile.TemporaryDirectory() as name:
        server = Server(Path(name) / "data", default_image=image, concurrency="8", parked="8").start()
        try:
            for job_id in [
                server.start_job({"name": "idle", "image": image, "steps": ["true"]}) for _ in range(8)
            ]:
                server.wait_finished(job_id)
            wait_for(lambda: server.parked() == 8 == len(containers_of(server)), "eight are parked", 60)
            time.sleep(3)
            pids = _processes(containers_of(server))
            before = _cpu(pids)
            time.sleep(_IDLE_SECONDS)
            spent = (_cpu(pids) - before) / _IDLE_SECONDS
            memory = _pss(pids) / 8
        finally:
            server.stop()
    return Row(
        "a parked container at rest",
        "under 0.1 % of a core for all; at most 12 MB each, shim included",
        f"{100 * spent:.2f} % of a core for 8; {memory / 1e6:.1f} MB each",
        "",
        spent < 0.001 and memory <= 12e6,
    )


def _processes(containers: list[str]) -> list[int]:
    """The processes of containers, and the shims that look after them."""
    found: list[int] = []
    for container in containers:
        top = subprocess.run(
            ["docker", "top", container, "-eo", "pid,ppid"], capture_output=True, text=True, check=True
        )
        rows = [line.split() for line in top.stdout.splitlines()[1:]]
        pids = {int(pid) for pid, _ in rows}
        found += pids
        found += {int(parent) for _, parent in rows if int(parent) not in pids}
    return found


def _cpu(pids: list[int]) -> float:
    spent = 0
    for pid in pids:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        spent += int(words[11]) + int(words[12])
    return spent / os.sysconf("SC_CLK_TCK")


def _pss(pids: list[int]) -> int:
    """Bytes."""
    total = 0
    for pid in pids:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        total += 1024 * int(next(line.split()[1] for line in text.splitlines() if line.startswith("Pss:")))
    return total
