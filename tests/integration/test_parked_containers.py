"""Parked containers of a real server: whatever happens to it, no step runs twice and nothing is left."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable

import pytest

from tests.support import images
from tests.support.builds import engine, inspect
from tests.support.consistency import assert_ended_once, assert_nothing_left
from tests.support.engine_proxy import EngineProxy
from tests.support.server import Server, containers_of, wait_for


def given(server: Server, origin: str) -> int:
    """How many builds got a container of this origin."""
    text = server.get("/metrics").text
    found = re.search(rf'^rapidflow_build_containers_total{{origin="{origin}"}} (\d+)', text, re.MULTILINE)
    assert found is not None
    return int(found[1])


def settled(server: Server, count: int) -> None:
    """Waits until there are `count` containers, all of them parked.

    One that is just being made when a server stops may be left to the next one.
    """
    wait_for(lambda: server.parked() == count == len(containers_of(server)), f"{count} containers are parked")


PIPELINE = {"name": "parked", "steps": ["echo said"]}


def test_builds_get_parked_containers_also_the_first_one_after_a_restart(
    new_server: Callable[..., Server],
) -> None:
    server = new_server(parked="2").start()
    pipeline = server.pipeline(PIPELINE)
    for wanted in (1, 2, 2):
        server.wait_finished(server.start_build(pipeline))
        settled(server, wanted)
    assert (given(server, "created"), given(server, "parked")) == (1, 2)
    server.stop()
    assert_nothing_left(server)

    server.start()
    settled(server, 2)
    job_id = server.start_build(pipeline)
    assert server.wait_finished(job_id)["steps"][0]["output"] == "said\n"
    assert (given(server, "created"), given(server, "parked")) == (0, 1)
    settled(server, 2)
    server.stop()
    assert_nothing_left(server)


def test_the_dashboard_says_how_many_containers_are_ready(new_server: Callable[..., Server]) -> None:
    server = new_server(parked="2").start()
    server.run(PIPELINE)
    wait_for(lambda: server.parked() == 1, "a container is parked")
    held = server.start_job({"name": "held", "image": images.ensure(images.BUSYBOX), "steps": ["sleep 1000"]})
    wait_for(lambda: server.parked() == 2, "one for the other image as well")
    assert "2 containers ready" in server.get("/").text
    server.post(f"/jobs/{held}/cancel")


@pytest.mark.parametrize("seed", range(3))
def test_a_kill_at_any_moment_of_an_adoption_runs_no_step_twice(
    new_server: Callable[..., Server], seed: int
) -> None:
    server = new_server(parked="2", concurrency="2").start()
    pipeline = server.pipeline({"name": "once", "steps": ["echo said; sleep 0.2"]})
    server.wait_finished(server.start_build(pipeline))
    wait_for(lambda: server.parked() == 1, "a container is parked")
    moments = random.Random(seed)
    job_ids = [server.start_build(pipeline) for _ in range(2)]
    time.sleep(moments.uniform(0, 0.15))
    server.kill()
    server.start()
    for job_id in job_ids:
        server.wait_finished(job_id)
        details = assert_ended_once(server, job_id)
        assert details["job"]["status"] == "success", details["job"]["error"]
        assert details["steps"][0]["output"] == "said\n"
    settled(server, 2)
    server.stop()
    assert_nothing_left(server)


def test_an_engine_that_goes_away_takes_the_parked_containers_with_it(
    new_server: Callable[..., Server], proxy: EngineProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", proxy.host)
    server = new_server(parked="1").start()
    pipeline = server.pipeline(PIPELINE)
    server.wait_finished(server.start_build(pipeline))
    wait_for(lambda: server.parked() == 1, "a container is parked")
    (before,) = containers_of(server)
    proxy.break_connections()

    job_id = server.start_build(pipeline)

    assert server.wait_finished(job_id)["job"]["status"] == "success"
    assert server.job(job_id)["container_id"] != before
    # What nobody hears any more is swept, beside a running server.
    settled(server, 1)
    assert before not in containers_of(server)
    server.stop()
    assert_nothing_left(server)


def test_a_tag_that_moves_after_parking_is_heard_of(new_server: Callable[..., Server]) -> None:
    image = "rapidflow-test/moving:1"
    engine("tag", images.ensure(images.BASH), image)
    server = new_server(parked="1").start()
    pipeline = server.pipeline({"name": "moves", "image": image, "steps": ["command -v bash || echo none"]})
    try:
        assert "bash" in server.wait_finished(server.start_build(pipeline))["steps"][0]["output"]
        wait_for(lambda: server.parked() == 1, "a container is parked")
        engine("tag", images.ensure(images.BUSYBOX), image)
        details = server.wait_finished(server.start_build(pipeline))
        assert details["steps"][0]["output"] == "none\n"
    finally:
        engine("rmi", image)


def test_no_more_containers_are_parked_than_is_set(new_server: Callable[..., Server]) -> None:
    server = new_server(parked="2", concurrency="6").start()
    pipeline = server.pipeline(PIPELINE)
    for job_id in [server.start_build(pipeline) for _ in range(6)]:
        server.wait_finished(job_id)
    settled(server, 2)
    time.sleep(1)
    assert server.parked() == 2 == len(containers_of(server))


def test_none_are_parked_where_that_is_switched_off(new_server: Callable[..., Server]) -> None:
    server = new_server(parked="0").start()
    server.run(PIPELINE)
    time.sleep(1)
    assert (server.parked(), containers_of(server)) == (0, [])


def test_a_parked_container_is_closed_off_as_a_build_is(new_server: Callable[..., Server]) -> None:
    server = new_server(parked="1", memory="64m").start()
    server.run(PIPELINE)
    wait_for(lambda: server.parked() == 1, "a container is parked")
    (container,) = containers_of(server)
    assert inspect(container, "{{.HostConfig.Memory}}") == str(64 * 1024**2)
    assert inspect(container, "{{.HostConfig.CapDrop}} {{.HostConfig.SecurityOpt}}") == (
        "[ALL] [no-new-privileges:true]"
    )
    assert inspect(container, "{{.HostConfig.NetworkMode}}") == "rapidflow-builds"
