"""Builds on the machines of a real swarm, over their relays, through whatever happens to these."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import engine_api, images
from tests.support.clusters import Cluster
from tests.support.consistency import assert_ended_once
from tests.support.machine import only_root
from tests.support.server import Server, wait_for
from tests.support.swarm import Node

pytestmark = only_root

_PRINT = """i=0
until [ -e /tmp/go ] || [ $i -ge 6000 ]; do i=$((i+1)); echo line $i; sleep 0.05; done
echo $i lines"""
"""Goes on until `_let_end`, or for five minutes where a test fails before."""
_SLOTS = 2
_DOWN_SECONDS = int(os.environ.get("TORTURE_LINK_DOWN", "12"))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(
        tmp_path_factory.mktemp("cluster"), 3, "--reserve-cpus", str(_SLOTS),
        engine_timeout=f"{_DOWN_SECONDS + 10}s", parked="0", grace="1s",
    )  # fmt: skip
    try:
        made.swarm.update(made.swarm.nodes[2], "--label-add", "gpu=yes")
        made.server.start()
        yield made
    finally:
        made.close()


@pytest.fixture
def server(cluster: Cluster) -> Server:
    return cluster.server


def _pipeline(steps: list[str] | None = None, **more: object) -> dict[str, object]:
    return {"name": "numbers", "steps": steps or [_PRINT], **more}


def _start_on(cluster: Cluster, node: Node, steps: list[str] | None = None, **more: object) -> int:
    """Starts a build on a machine, and waits until it prints."""
    cluster.swarm.update(node, "--label-add", f"only={node.name}")
    config = _pipeline(steps, on_node={"only": node.name}, **more)
    wait_for(lambda: _labelled(cluster.server, node), f"the server knows the label of {node.name}")
    job_id = cluster.server.start_job(config)
    cluster.server.wait_output(job_id, "line 3\n", 60)
    return job_id


def _labelled(server: Server, node: Node) -> bool:
    nodes = server.get("/nodes").json
    return any(one["name"] == node.name and one["labels"].get("only") == node.name for one in nodes)


def _lines(count: int) -> str:
    return "".join(f"line {number}\n" for number in range(1, count + 1))


def _let_end(cluster: Cluster, node: Node, job_id: int) -> None:
    """The build on the machine has had to go through all that the test had in mind."""
    node.docker("exec", cluster.server.job(job_id)["container_id"], "touch", "/tmp/go")


def _assert_exact(cluster: Cluster, node: Node, job_id: int, seconds: float = 120) -> None:
    """The build still runs, prints more, and ends when it may; all lines came, each once."""
    server = cluster.server
    assert server.job(job_id)["status"] == "running"
    seen = server.stream(job_id).count("line ")
    server.wait_output(job_id, f"\nline {seen + 20}\n", seconds)
    _let_end(cluster, node, job_id)
    details = server.wait_finished(job_id, seconds)
    assert (details["job"]["status"], details["job"]["error"]) == ("success", None)
    output = details["steps"][0]["output"]
    printed = output.count("line ")
    assert printed >= seen + 20
    assert output == f"{_lines(printed)}{printed} lines\n"
    assert_ended_once(server, job_id)


def _nothing_left(cluster: Cluster) -> bool:
    label = f"rapidflow.installation={cluster.installation}"
    return not any(node.containers(label) for node in cluster.swarm.nodes)


def _cluster_is_well(cluster: Cluster) -> bool:
    return all(one["problem"] is None for one in cluster.server.get("/nodes").json)


def test_builds_are_spread_over_the_slots_of_all_machines(cluster: Cluster, server: Server) -> None:
    jobs = [server.start_job(_pipeline(["hostname; sleep 4"])) for _ in range(10)]
    most: Counter[str] = Counter()
    deadline = time.monotonic() + 120
    while any(server.job(job)["status"] in ("pending", "running") for job in jobs):
        assert time.monotonic() < deadline
        for node in cluster.swarm.nodes:
            running = engine_api.ids(
                node.host, all=False, label=f"rapidflow.installation={cluster.installation}"
            )
            most[node.name] = max(most[node.name], len(running))
        time.sleep(0.3)
    assert {server.job(job)["status"] for job in jobs} == {"success"}
    assert set(most) == {node.name for node in cluster.swarm.nodes}
    listed = server.command("--url", server.url, "jobs").stdout.splitlines()
    assert listed[0].split()[-3:] == ["CREATED", "NODE", "DURATION"]
    assert {line.split()[-2] for line in listed[1:]} == set(most)
    assert min(most.values()) > 0
    # A container is removed a moment after its slot is free.
    assert max(most.values()) <= 2 * _SLOTS
    wait_for(lambda: _nothing_left(cluster), "nothing is left")


def test_labels_choose_the_machine_and_a_build_without_one_says_why(cluster: Cluster, server: Server) -> None:
    job = server.start_job(_pipeline(on_node={"gpu": "yes"}))
    server.wait_output(job, "line 1\n", 60)
    label = f"rapidflow.installation={cluster.installation}"
    assert [bool(node.containers(label)) for node in cluster.swarm.nodes] == [False, False, True]
    server.post(f"/jobs/{job}/cancel")
    server.wait_finished(job)

    job = server.start_job(_pipeline(on_node={"gpu": "no"}))
    wait_for(lambda: "no node has" in server.get(f"/ui/jobs/{job}").text, "the page says why")
    server.post(f"/jobs/{job}/cancel")
    server.wait_finished(job)


def test_build_goes_on_when_its_relay_is_killed(cluster: Cluster, server: Server) -> None:
    node = cluster.swarm.nodes[1]
    job = _start_on(cluster, node)
    for _ in range(2):
        (relay,) = cluster.relays(node)
        node.docker("kill", relay)
        wait_for(lambda gone=relay: cluster.relays(node) not in ([], [gone]), "another relay runs", 60)
    _assert_exact(cluster, node, job)


def test_build_goes_on_when_relays_are_updated_and_get_new_keys(cluster: Cluster, server: Server) -> None:
    first, second, third = cluster.swarm.nodes
    job = _start_on(cluster, second)
    old = [relay for node in cluster.swarm.nodes for relay in cluster.relays(node)]
    cluster.swarm.manager.docker("service", "update", "--force", "--detach=false", cluster.relay_name)
    _assert_exact(cluster, second, job)
    wait_for(
        lambda: not any(relay in old for node in cluster.swarm.nodes for relay in cluster.relays(node)),
        "the old relays have ended, though the server goes on looking at the machines",
        60,
    )
    job = _start_on(cluster, third)
    cluster.did("rotate")
    _assert_exact(cluster, third, job)
    # Connections are made with the new keys.
    _assert_exact(cluster, first, _start_on(cluster, first))


def test_port_of_a_build_is_reached_here_wherever_it_runs(cluster: Cluster, server: Server) -> None:
    serve = "mkdir -p /tmp/web && hostname >/tmp/web/index.html && exec httpd -f -p 8080 -h /tmp/web"
    web = {"env": {"PORT": "8080"}, "expose_ports": True}
    jobs = {
        node.name: _start_on(cluster, node, ["hostname; seq 3 | sed 's/^/line /'; " + serve], **web)
        for node in cluster.swarm.nodes[1:]
    }

    def page(job: int) -> str | None:
        # Until a server that has started finds the build, nothing leads there.
        if (ports := server.job(job)["ports"]) is None:
            return None
        url = f"http://{ports['8080']}/"
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=10) as answer:
            return answer.read().decode()

    hosts = {
        job: server.details(job)["steps"][0]["output"].partition("\n")[0] + "\n" for job in jobs.values()
    }
    for restarts in (False, True):
        if restarts:
            server.kill()
            server.start()
        for name, job in jobs.items():
            wait_for(lambda job=job: page(job) == hosts[job], f"the build on {name} answers")
    for job in jobs.values():
        address = server.job(job)["ports"]["8080"].split(":")
        server.post(f"/jobs/{job}/cancel")
        assert server.wait_finished(job)["job"]["ports"] is None
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((address[0], int(address[1])), timeout=10).close()


def test_drained_machine_ends_its_builds_and_gets_no_more(cluster: Cluster, server: Server) -> None:
    node = cluster.swarm.nodes[1]
    job = _start_on(cluster, node)
    cancelled = _start_on(cluster, node)
    cluster.swarm.update(node, "--availability", "drain")
    wait_for(lambda: not _cluster_is_well(cluster), "the server knows")
    waiting = server.start_job(_pipeline(["true"], on_node={"only": node.name}))
    server.post(f"/jobs/{cancelled}/cancel")
    assert server.wait_finished(cancelled)["job"]["status"] == "cancelled"
    _assert_exact(cluster, node, job)
    wait_for(lambda: _nothing_left(cluster), "nothing is left")
    assert server.job(waiting)["status"] == "pending"

    cluster.swarm.update(node, "--availability", "active")
    assert server.wait_finished(waiting)["job"]["status"] == "success"


def test_link_that_is_down_for_a_while_loses_no_line(cluster: Cluster, server: Server) -> None:
    node = cluster.swarm.nodes[2]
    job = _start_on(cluster, node)
    node.link(up=False)
    time.sleep(_DOWN_SECONDS)
    node.link(up=True)
    _assert_exact(cluster, node, job)
    wait_for(lambda: _cluster_is_well(cluster), "all machines take builds", 120)


def test_server_that_restarts_goes_on_though_a_machine_is_away(cluster: Cluster, server: Server) -> None:
    near, far = cluster.swarm.nodes[1:]
    jobs = {near: _start_on(cluster, near), far: _start_on(cluster, far)}
    far.link(up=False)
    server.kill()
    server.start()
    time.sleep(5)
    far.link(up=True)
    for node, job in jobs.items():
        _assert_exact(cluster, node, job)
    wait_for(lambda: _cluster_is_well(cluster), "all machines take builds", 120)


def test_manager_that_is_down_stops_no_build(cluster: Cluster, server: Server) -> None:
    node = cluster.swarm.nodes[1]
    job = _start_on(cluster, node)
    cluster.swarm.manager.kill()
    try:
        server.kill()
        server.start()
        other = server.start_job(_pipeline(["echo begun"], on_node={"only": node.name}))
        assert server.wait_finished(other, 60)["job"]["status"] == "success"
        _assert_exact(cluster, node, job)
    finally:
        cluster.swarm.manager.start()
    wait_for(lambda: _cluster_is_well(cluster), "all machines take builds", 120)


def test_machine_that_is_gone_for_good_fails_its_builds_by_name(cluster: Cluster, server: Server) -> None:
    node = cluster.swarm.nodes[2]
    job = _start_on(cluster, node)
    node.link(up=False)
    details = server.wait_finished(job, 120)
    assert details["job"]["status"] == "failed"
    assert node.name in details["job"]["error"]
    assert_ended_once(server, job)
    output = details["steps"][0]["output"]
    assert output and _lines(output.count("line ") + 1).startswith(output)

    # What it still runs is removed when it is back.
    label = f"rapidflow.installation={cluster.installation}"
    assert node.containers(label)
    node.link(up=True)
    wait_for(lambda: _nothing_left(cluster), "nothing is left", 120)
    wait_for(lambda: _cluster_is_well(cluster), "all machines take builds", 120)


def test_list_of_engines_is_reached_over_tls(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CERT_PATH", str(cluster.swarm.keys))
    nodes = {node.name: node for node in cluster.swarm.nodes[:2]}
    engines = ", ".join(f"{name}={node.over_tls}" for name, node in nodes.items())
    server = Server(tmp_path / "data", engines=engines, default_image=images.BASH, parked="0").start()
    try:
        jobs = [server.start_job(_pipeline(["seq 100000; sleep 2"])) for _ in nodes]
        ends = [server.wait_finished(job, 90) for job in jobs]
        assert [end["job"]["error"] for end in ends] == [None, None]
        assert {end["job"]["node"] for end in ends} == set(nodes)
        expected = "".join(f"{number}\n" for number in range(1, 100001))
        assert all(server.get(f"/jobs/{job}/logs/stream").text.count(expected) == 1 for job in jobs)
    finally:
        server.stop()


def test_doctor_and_status_find_nothing_wrong(cluster: Cluster, server: Server) -> None:
    assert server.command("doctor").stdout.startswith("all is well")
    assert len(re.findall(r"^node\d  ready ", cluster.did("status"), re.MULTILINE)) == 3
    assert "Traceback" not in server.log.read_text()
