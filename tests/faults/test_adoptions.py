"""Many builds in parked containers: each gets one of its own, and they leave nothing behind.

TORTURE_ADOPTIONS sets how many.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tests.support.consistency import assert_nothing_left
from tests.support.descriptors import descriptors
from tests.support.server import Server, containers_of, wait_for

_ADOPTIONS = int(os.environ.get("TORTURE_ADOPTIONS", "16"))
_WARM_UP = 12
_PARKED = 4
_GROWTH = 32 * 1024**2
"""Bytes; to keep 32 KiB of each of 1,000 builds would take more."""


def test_adoptions_leave_nothing_behind(new_server: Callable[..., Server]) -> None:
    server = new_server(parked=str(_PARKED), concurrency=str(_PARKED)).start()
    pipeline = server.pipeline({"name": "adopts", "steps": ["echo said; test ! -e /ran; touch /ran"]})

    def build(_: int) -> str:
        job_id = server.start_build(pipeline)
        details = server.wait_finished(job_id)
        assert details["job"]["status"] == "success", details["job"]["error"]
        assert details["steps"][0]["output"] == "said\n"
        return details["job"]["container_id"]

    def builds(count: int) -> list[str]:
        with ThreadPoolExecutor(_PARKED) as clients:
            return list(clients.map(build, range(count)))

    def all_parked() -> bool:
        return server.parked() == _PARKED == len(containers_of(server))

    used = builds(_WARM_UP)
    wait_for(all_parked, "the pool is full again")
    before, memory = descriptors(server), server.memory

    used += builds(_ADOPTIONS)

    assert len(set(used)) == _WARM_UP + _ADOPTIONS
    wait_for(all_parked, "the pool is full again")
    # Connections to the engine and from the test come and go.
    wait_for(lambda: descriptors(server) <= before + 8, "all is given back")
    assert server.memory - memory < _GROWTH
    server.stop()
    assert_nothing_left(server)
