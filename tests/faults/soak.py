"""Everything at once for as long as wanted, on one server that nobody kills: does it grow?

    python -m tests.faults.soak [MINUTES]

Builds of all kinds, followers that come and go, cancels, retries, pages, a backup now and then. Prints what
the server takes every minute, and a report; exits with 1 where a build did not end as it should or anything
is left.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.support import images
from tests.support.consistency import assert_ended_once, assert_nothing_left
from tests.support.repos import Repo
from tests.support.server import FINISHED, Follower, Server

_AT_ONCE = 6
_REPORT_SECONDS = 60.0
_SECRET = "not-to-be-read-in-any-log"
_PAGES = ("/", "/ui/pipelines/1", "/jobs", "/pipelines", "/metrics", "/ready", "/ui/overview")


def _pipelines(repo: Repo) -> dict[str, tuple[dict[str, Any], str]]:
    """Kinds of builds, each with the status that it should end with."""
    repo.commit({f"data/{number}": bytes([number]) * 100_000 for number in range(10)})
    trap = "trap 'echo clean; exit 0' TERM; echo ready; while :; do sleep 0.05; done 2>/dev/null"
    return {
        "quick": ({"steps": ["echo one", "echo two", "echo three"]}, "success"),
        "failing": ({"steps": ["echo out; exit 3", "echo never"]}, "failed"),
        "source": ({"repo_name": repo.url, "steps": ["ls data | wc -l"]}, "success"),
        "chatty": (
            {"steps": ["i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo $i; sleep 0.01; done"]},
            "success",
        ),
        "flood": ({"steps": ["seq 1 400000"]}, "success"),
        "limited": ({"log_limit": "100k", "steps": ["seq 1 100000"]}, "success"),
        "secret": (
            {
                "secrets": ["SOAK"],
                "steps": ["i=0; while [ $i -lt 2000 ]; do i=$((i+1)); echo $i $SOAK; done"],
            },
            "success",
        ),
        "slow": ({"timeout": "2s", "steps": ["sleep 1000"]}, "failed"),
        "silent": ({"silence_timeout": "1s", "steps": ["sleep 1000"]}, "failed"),
        "endless": ({"steps": [trap]}, "cancelled"),
    }


class _Soak:
    def __init__(self, server: Server, repo: Repo) -> None:
        self.server = server
        self.ended: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._lag = 0.0, 0.0
        self._random = random.Random(1)
        self._kinds = _pipelines(repo)
        self._put_secret()
        self._ids = {name: server.pipeline({"name": name, **kind[0]}) for name, kind in self._kinds.items()}
        self._running: dict[int, str] = {}
        self._followers: list[tuple[int, Follower]] = []

    def _put_secret(self) -> None:
        body = json.dumps({"value": _SECRET})
        stored = self.server.request("PUT", "/secrets/SOAK", body, {"Content-Type": "application/json"})
        assert stored.status == 200, stored.text

    def turn(self) -> None:
        """Starts what is missing, looks what has ended, follows and bothers."""
        while len(self._running) < _AT_ONCE:
            name = self._random.choice(list(self._kinds))
            job_id = self.server.start_build(self._ids[name])
            self._running[job_id] = name
            for _ in range(self._random.randrange(4)):
                self._followers.append((job_id, self.server.follow(job_id)))
        for job_id, name in list(self._running.items()):
            status = self.server.job(job_id)["status"]
            if status in FINISHED:
                self._check(job_id, name, status)
            elif name == "endless" and self._random.random() < 0.2:
                self.server.post(f"/jobs/{job_id}/cancel")
        if self._followers and self._random.random() < 0.1:
            self._followers.pop(self._random.randrange(len(self._followers)))[1].close()
        assert self.server.get(self._random.choice(_PAGES)).status == 200
        time.sleep(0.1)

    def _check(self, job_id: int, name: str, status: str) -> None:
        del self._running[job_id]
        self.ended[name] += 1
        if status != self._kinds[name][1]:
            self._say_wrong(f"job {job_id} ({name}) is {status}")
        try:
            assert_ended_once(self.server, job_id)
            stream = self.server.get(f"/jobs/{job_id}/logs/stream").body
            if _SECRET.encode() in stream:
                self._say_wrong(f"job {job_id} ({name}): its log has the secret")
            mine = [follower for followed, follower in self._followers if followed == job_id]
            self._followers = [pair for pair in self._followers if pair[0] != job_id]
            for follower in mine:
                if (got := follower.wait()) != stream:
                    what = f"{len(got)} of {len(stream)} bytes, complete: {follower.complete}"
                    self._say_wrong(f"job {job_id} ({name}): a follower got {what}")
        except AssertionError as error:
            self._say_wrong(f"job {job_id} ({name}): {error}")
        if self._random.random() < 0.05:
            self._running[self.server.post(f"/jobs/{job_id}/retry").json["id"]] = name

    def _say_wrong(self, what: str) -> None:
        self.wrong.append(what)
        print(what, flush=True)

    def measure(self, minutes: float) -> None:
        assert self.server.process is not None
        process = Path(f"/proc/{self.server.process.pid}")
        memory = int((process / "status").read_text().partition("VmRSS:")[2].split()[0]) // 1024
        descriptors = len(list((process / "fd").iterdir()))
        threads = len(list((process / "task").iterdir()))
        print(
            f"{minutes:5.1f} min  {self.ended.total():6} builds  {memory:4} MiB  {descriptors:3} fds  "
            f"{threads:2} threads  loop lag {self._loop_lag():5.1f} ms  {len(self.wrong)} wrong",
            flush=True,
        )

    def _loop_lag(self) -> float:
        """The mean since this was asked last, in milliseconds."""
        metrics = self.server.get("/metrics").text
        before = self._lag
        seconds, count = (
            float(metrics.partition(f"\nrapidflow_loop_lag_seconds_{what} ")[2].split()[0])
            for what in ("sum", "count")
        )
        self._lag = seconds, count
        return 1000 * (seconds - before[0]) / max(1, count - before[1])


def main() -> None:
    """Soaks for as many minutes as the command line says, 60 by default."""
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 60
    with tempfile.TemporaryDirectory(prefix="rf-soak-") as folder:
        repo = Repo(Path(folder) / "repos" / "source")
        server = Server(
            Path(folder) / "data",
            default_image=images.ensure(images.BASH),
            file_roots=f"{folder}/repos",
            concurrency="4",
            grace="1s",
            keep_builds="200",
        ).start()
        soak = _Soak(server, repo)
        begin = reported = backed_up = time.monotonic()
        while (now := time.monotonic()) - begin < minutes * 60:
            soak.turn()
            if now - reported > _REPORT_SECONDS:
                reported = now
                soak.measure((now - begin) / 60)
            if now - backed_up > 10 * _REPORT_SECONDS:
                backed_up = now
                server.pipe("backup", "-")
                server.post("/prune")
        for job_id in list(soak._running):
            if soak._running[job_id] == "endless":
                server.post(f"/jobs/{job_id}/cancel")
            server.wait_finished(job_id, seconds=120)
        soak.measure((time.monotonic() - begin) / 60)
        assert_nothing_left(server)
        doctor = server.command("doctor")
        seconds = server.stop()
        print(f"\n{soak.ended.total()} builds: {dict(soak.ended)}")
        print(f"the doctor says: {doctor.stdout.strip()}")
        tracebacks = server.log.read_text().count("Traceback")
        print(f"the server ended in {seconds:.1f} s; tracebacks in its log: {tracebacks}")
        if not soak.wrong:
            print("every build ended as it should, and every follower got all of it")
        sys.exit(1 if soak.wrong or doctor.returncode else 0)


if __name__ == "__main__":
    main()
