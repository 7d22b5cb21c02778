"""Server, relays, engines and links of a swarm are killed in turn: all lines come once, all builds end once.

In `make test` a few kills, with six builds at once; `make torture` sets TORTURE_KILLS and TORTURE_BUILDS.
"""

from __future__ import annotations

import math
import os
import random
import time
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.support.clusters import Cluster
from tests.support.consistency import assert_ended_once
from tests.support.machine import only_root
from tests.support.resuming import ResumingFollower
from tests.support.server import FINISHED, wait_for
from tests.support.swarm import Node

pytestmark = only_root

KILLS = int(os.environ.get("TORTURE_KILLS", "4"))
SEED = int(os.environ.get("TORTURE_SEED", "0")) or random.randrange(1, 10**6)

_LINES = 300
_MACHINES = 3
_AT_ONCE = int(os.environ.get("TORTURE_BUILDS", "6"))
_PAUSE = 0.003 * _AT_ONCE
"""Seconds between two lines: all builds together print as many, however many they are."""
_STEP = f"i=0; while [ $i -lt {_LINES} ]; do i=$((i+1)); echo line $i; sleep {_PAUSE:.3f}; done"
_EXPECTED = "".join(f"line {number}\n" for number in range(1, _LINES + 1))


class _Torture:
    def __init__(self, cluster: Cluster, randoms: random.Random) -> None:
        self.cluster = cluster
        self.server = cluster.server
        self.randoms = randoms
        self.builds: dict[int, ResumingFollower] = {}
        self._killed: list[tuple[str, float]] = []
        """Names of machines whose engine was killed, each with the time of that."""
        self._pipeline = self.server.pipeline({"name": "tortured", "steps": [_STEP, "echo end"]})

    def keep_busy(self) -> None:
        """Starts builds where some have ended."""
        running = [job_id for job_id in self.builds if self.server.job(job_id)["status"] not in FINISHED]
        for _ in range(_AT_ONCE - len(running)):
            job_id = self.server.start_build(self._pipeline)
            self.builds[job_id] = ResumingFollower(self.server, job_id)

    def break_something(self, number: int) -> None:
        """One thing after the other, on a machine by chance."""
        node = self.randoms.choice(self.cluster.swarm.nodes)
        breaks = (self._kill_server, self._kill_relay, self._cut_link, self._kill_engine)
        time.sleep(self.randoms.random() * 2)
        breaks[number % len(breaks)](node)

    def _kill_server(self, node: Node) -> None:
        self.server.kill()
        self.server.start()

    def _kill_relay(self, node: Node) -> None:
        for relay in self.cluster.relays(node):
            node.docker("kill", relay, check=False)

    def _cut_link(self, node: Node) -> None:
        node.link(up=False)
        time.sleep(self.randoms.random() * 5)
        node.link(up=True)

    def _kill_engine(self, node: Node) -> None:
        self._killed.append((node.name, time.time()))
        node.kill()
        time.sleep(self.randoms.random())
        node.start()

    def check(self) -> Counter[str]:
        """How many builds ended with which status."""
        ends: Counter[str] = Counter()
        for job_id, follower in self.builds.items():
            details = self.server.wait_finished(job_id, seconds=600)
            assert_ended_once(self.server, job_id)
            assert follower.wait() == self.server.get(f"/jobs/{job_id}/logs/stream").body
            self._check(details)
            ends[details["job"]["status"]] += 1
        return ends

    def _check(self, details: dict[str, Any]) -> None:
        output = details["steps"][0]["output"]
        if details["job"]["status"] == "success":
            assert output == _EXPECTED
        else:
            # An engine that is killed takes its builds along, and nothing else does; what they printed before
            # is there once.
            assert self._had_its_engine_killed(details["job"]), details["job"]
            assert _EXPECTED.startswith(output.rstrip("\n"))

    def _had_its_engine_killed(self, job: dict[str, Any]) -> bool:
        began, ended = (
            datetime.fromisoformat(job[name]).timestamp() for name in ("started_at", "finished_at")
        )
        # Both are in whole seconds.
        return any(name == job["node"] and began <= at <= ended + 1 for name, at in self._killed)

    def nothing_is_left(self) -> bool:
        """No machine has a container of a build."""
        label = f"rapidflow.installation={self.cluster.installation}"
        return not any(node.containers(label) for node in self.cluster.swarm.nodes)


def test_builds_of_a_swarm_survive_kills_of_all_that_is_between(tmp_path: Path) -> None:
    print(f"TORTURE_SEED={SEED}")
    cluster = Cluster(tmp_path, _MACHINES, engine_timeout="60s", parked="0", grace="1s")
    try:
        for node in cluster.swarm.nodes:
            cluster.swarm.update(node, "--label-add", f"rapidflow.slots={math.ceil(_AT_ONCE / _MACHINES)}")
        cluster.server.start()
        torture = _Torture(cluster, random.Random(SEED))
        for number in range(KILLS):
            torture.keep_busy()
            torture.break_something(number)
            if number % 20 == 19:
                print(f"{number + 1} kills, {len(torture.builds)} builds", flush=True)
        ends = torture.check()
        print(f"{KILLS} kills: {dict(ends)}")
        assert ends["success"] >= 1
        wait_for(torture.nothing_is_left, "nothing is left on any machine", 180)
        assert "Traceback" not in cluster.server.log.read_text()
    finally:
        cluster.close()
