"""The server is killed at random moments, again and again: every build comes to its end, to the byte.

In `make test` a few kills; `make torture` sets TORTURE_KILLS.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.support.consistency import assert_ended_once, assert_nothing_left
from tests.support.resuming import ResumingFollower
from tests.support.server import FINISHED, Server

KILLS = int(os.environ.get("TORTURE_KILLS", "8"))
SEED = int(os.environ.get("TORTURE_SEED", "0")) or random.randrange(1, 10**6)

_LINES = 150
_STEPS = 4
_AT_ONCE = 4
_TOKEN = "hunter2-correct-horse"
_CANCELLED = 5
"""Every so many builds one is cancelled at some moment."""


def _step(number: int) -> str:
    """A step that numbers its lines, some slowly, some in a burst, with secrets, and notes that it ran."""
    first = (number - 1) * _LINES
    return (
        f"echo {number} >>/ran; echo ::add-mask::added-{number}; i={first}; "
        f"while [ $i -lt {first + _LINES} ]; do i=$((i+1)); "
        "echo line $i; if [ $((i % 10)) = 0 ]; then echo $TOKEN added-1; sleep 0.02; fi; done"
    )


def _line(number: int) -> str:
    return f"line {number}\n" + ("*** ***\n" if number % 10 == 0 else "")


_EXPECTED = "".join(
    f"=== Step {number} (bash) ===\n::add-mask::***\n"
    + "".join(map(_line, range((number - 1) * _LINES + 1, number * _LINES + 1)))
    + "\n"
    for number in range(1, _STEPS + 1)
) + (
    f"=== Step {_STEPS + 1} (bash) ===\n" + "".join(f"{n}\n" for n in range(1, _STEPS + 1)) + "\n"
    "=== Build completed ===\n"
)


@dataclass
class _Build:
    job_id: int
    followers: list[ResumingFollower] = field(default_factory=list)
    cancel: bool = False


class _Torture:
    def __init__(self, server: Server, randoms: random.Random) -> None:
        self.server = server
        self.randoms = randoms
        self.builds: list[_Build] = []
        self._pipeline = server.pipeline(
            {
                "name": "tortured",
                "secrets": ["TOKEN"],
                "steps": [*(_step(n) for n in range(1, _STEPS + 1)), "cat /ran"],
            }
        )
        server.request(
            "PUT", "/secrets/TOKEN", json.dumps({"value": _TOKEN}), {"Content-Type": "application/json"}
        )

    def keep_busy(self) -> None:
        """Starts builds where some have ended, and cancels one now and then."""
        running = [build for build in self.builds if self.server.job(build.job_id)["status"] not in FINISHED]
        for _ in range(_AT_ONCE - len(running)):
            build = _Build(self.server.start_build(self._pipeline))
            build.followers = [ResumingFollower(self.server, build.job_id) for _ in range(2)]
            build.cancel = len(self.builds) % _CANCELLED == _CANCELLED - 1
            self.builds.append(build)
        for build in running:
            if build.cancel and self.randoms.random() < 0.5:
                build.cancel = False
                self.server.request_and_leave("POST", f"/jobs/{build.job_id}/cancel")

    def kill(self) -> None:
        time.sleep(self.randoms.random() * 1.5)
        self.server.kill()
        while self.randoms.random() < 0.25:
            # One that is killed while it starts.
            self.server.start(wait=False)
            time.sleep(self.randoms.random() * 1.5)
            self.server.kill()
        self.server.start()

    def check(self) -> None:
        for build in self.builds:
            details = self.server.wait_finished(build.job_id, seconds=120)
            assert_ended_once(self.server, build.job_id)
            stream = self.server.get(f"/jobs/{build.job_id}/logs/stream").body
            for follower in build.followers:
                assert hashlib.sha256(follower.wait()).digest() == hashlib.sha256(stream).digest()
            if details["job"]["status"] == "cancelled":
                _assert_beginning(stream.decode())
            else:
                assert (details["job"]["status"], details["job"]["error"]) == ("success", None)
                assert stream.decode() == _EXPECTED


def _assert_beginning(stream: str) -> None:
    """What a cancelled build printed is the beginning of what it would have printed."""
    printed, separator, _ = stream.partition("=== Build cancelled ===\n")
    assert separator
    while printed.endswith("\n\n"):
        printed = printed[:-1]
    assert _EXPECTED.startswith(printed) or _EXPECTED.startswith(printed.rstrip("\n"))


def test_builds_survive_any_number_of_kills(new_server: Callable[..., Server]) -> None:
    print(f"TORTURE_SEED={SEED}")
    server = new_server(concurrency="3", grace="1s", parked="2").start()
    torture = _Torture(server, random.Random(SEED))
    for number in range(KILLS):
        torture.keep_busy()
        torture.kill()
        if number % 20 == 19:
            print(f"{number + 1} kills, {len(torture.builds)} builds", flush=True)
    torture.check()
    assert len(torture.builds) >= _AT_ONCE
    assert_nothing_left(server)
    assert "Traceback" not in server.log.read_text()
