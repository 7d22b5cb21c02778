"""Builds on several engines, each of them a real one of the tests' own."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import engine_api, images
from tests.support.consistency import assert_ended_once, stored
from tests.support.postgres import Postgres
from tests.support.private_engine import PrivateEngine
from tests.support.server import FINISHED, Server, wait_for

_SLOTS = {"a": 2, "b": 1, "c": 3}
_WAIT_FOR_FILE = "echo begun; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo over"
COUNTING = "i=0; while [ $i -lt 150 ]; do i=$((i+1)); echo line $i; sleep 0.05; done"
COUNTED = "".join(f"line {number}\n" for number in range(1, 151))


@pytest.fixture(scope="module")
def shared() -> Iterator[dict[str, PrivateEngine]]:
    """Three engines; c alone has a GPU. The tests leave them running."""
    images.ensure(images.BASH)
    made: dict[str, PrivateEngine] = {}
    try:
        for name, slots in _SLOTS.items():
            gpu = ["gpu=yes"] if name == "c" else []
            made[name] = PrivateEngine(live_restore=True, labels=[f"rapidflow.slots={slots}", *gpu])
            made[name].load(images.BASH)
        yield made
    finally:
        for engine in made.values():
            engine.close()


@pytest.fixture
def engines(shared: dict[str, PrivateEngine]) -> Iterator[dict[str, PrivateEngine]]:
    yield shared
    for engine in shared.values():
        engine.thaw()
        # What a test that failed has left must not let the next ones fail.
        if left := containers(engine):
            engine.docker("rm", "--force", *left)


@pytest.fixture
def cluster(
    engines: dict[str, PrivateEngine], new_server: Callable[..., Server], default_image: str
) -> Callable[..., Server]:
    """Makes servers of these machines, not yet started."""

    def make(**settings: str) -> Server:
        listed = ",".join(f"{name}={engine.host}" for name, engine in engines.items())
        return new_server(**{"engines": listed, "engine_timeout": "4s", **settings})

    return make


@pytest.fixture
def default_image() -> str:
    return images.BASH


def containers(engine: PrivateEngine) -> list[str]:
    return engine_api.ids(engine.host)


def nodes(server: Server) -> dict[str, dict]:
    return {node["name"]: node for node in server.get("/nodes").json}


def gives_way(engine: PrivateEngine, job: dict) -> None:
    """Lets a build end that waits for its file."""
    done = engine.docker("exec", job["container_id"], "touch", "/tmp/go")
    assert done.returncode == 0, done.stderr


def test_builds_respect_slots_and_labels(engines: dict[str, PrivateEngine], cluster: Callable[..., Server]):
    server = cluster().start()
    plain = server.pipeline({"name": "plain", "steps": ["sleep 0.3; echo done"]})
    gpu = server.pipeline({"name": "gpu", "on_node": {"gpu": "yes"}, "steps": ["sleep 0.3; echo done"]})
    ids = [server.start_build(gpu if number % 4 == 0 else plain) for number in range(20)]
    most: Counter[str] = Counter()

    def ended() -> bool:
        for name, node in nodes(server).items():
            most[name] = max(most[name], node["taken"], len(node["jobs"]))
        return all(server.job(job_id)["status"] in FINISHED for job_id in ids)

    wait_for(ended, "all have ended", seconds=60)
    jobs = [server.job(job_id) for job_id in ids]
    assert [job["error"] for job in jobs] == [None] * 20
    assert {job["node"] for job in jobs[::4]} == {"c"}
    assert {job["node"] for job in jobs} == {"a", "b", "c"}
    assert all(most[name] <= slots for name, slots in _SLOTS.items())
    assert nodes(server)["c"]["labels"] == {"gpu": "yes", "rapidflow.slots": "3"}
    wait_for(lambda: not any(map(containers, engines.values())), "nothing is left on any machine")


def test_a_build_that_fits_nowhere_says_why_and_keeps_no_other_waiting(
    engines: dict[str, PrivateEngine], cluster: Callable[..., Server]
):
    server = cluster().start()
    lost = server.start_job({"name": "x", "on_node": {"gpu": "no"}, "steps": ["echo done"]})
    assert server.run({"name": "y", "steps": ["echo done"]})["job"]["status"] == "success"
    job = server.job(lost)
    assert (job["status"], job["waits_for"]) == ("pending", "a node: no node has label gpu=no")
    assert "node" not in job
    page = server.get(f"/ui/jobs/{lost}").text
    assert "Waiting for a node: no node has label gpu=no" in page
    assert "waits for a node: no node has label gpu=no" in server.get("/").text
    # An engine reads its labels when it starts.
    engines["b"].stop()
    # One that is back before it was missed is asked for its labels within a minute.
    wait_for(lambda: not nodes(server)["b"]["reachable"], "it is known to be away")
    engines["b"].labels = ["rapidflow.slots=1", "gpu=no"]
    engines["b"].start()
    assert server.wait_finished(lost)["job"]["node"] == "b"


def test_all_slots_of_the_nodes_that_fit_are_taken(
    engines: dict[str, PrivateEngine], cluster: Callable[..., Server]
):
    server = cluster().start()
    pipeline = server.pipeline({"name": "x", "on_node": {"gpu": "yes"}, "steps": [_WAIT_FOR_FILE]})
    ids = [server.start_build(pipeline) for _ in range(4)]
    for job_id in ids[:3]:
        server.wait_output(job_id, "begun")
    wait_for(
        lambda: (
            server.job(ids[3])["waits_for"] == "a node: 3 of 3 slots of nodes with label gpu=yes are taken"
        ),
        "the fourth says what it waits for",
    )
    # A server that is started again knows which slots are taken.
    server.kill()
    server.start()
    wait_for(
        lambda: nodes(server).get("c", {}).get("taken") == 3, "the builds that run have their slots again"
    )
    assert server.job(ids[3])["status"] == "pending"
    gives_way(engines["c"], server.job(ids[0]))
    server.wait_output(ids[3], "begun")
    running = 'rapidflow_node_running_builds{node="c"} 3.0'
    wait_for(lambda: running in server.get("/metrics").text, "three builds run there")
    for job_id in ids[1:]:
        gives_way(engines["c"], server.job(job_id))
    for job_id in ids:
        assert server.wait_finished(job_id)["steps"][0]["output"] == "begun\nover\n"


def test_a_machine_that_hangs_fails_its_builds_alone_and_is_tidied_up_later(
    engines: dict[str, PrivateEngine], cluster: Callable[..., Server]
):
    server = cluster().start()
    there = server.start_job(
        {"name": "x", "on_node": {"gpu": "yes"}, "steps": [f"{_WAIT_FOR_FILE}; echo twice >>/x"]}
    )
    server.wait_output(there, "begun")
    engines["c"].freeze()
    waits = server.start_job({"name": "y", "on_node": {"gpu": "yes"}, "steps": ["echo done"]})
    assert server.run({"name": "z", "steps": ["echo done"]})["job"]["status"] == "success"
    error = server.wait_finished(there)["job"]["error"]
    assert re.fullmatch(r"node c: the Docker engine went away and did not come back in 4s", error)
    assert stored(server, "SELECT cause, node FROM job WHERE id = ?", there) == [("engine_lost", "c")]
    assert nodes(server)["c"]["reachable"] is False
    page = server.get("/ui/nodes").text
    assert "can&#39;t be reached" in page
    # What began to be made there before it was known, or what waits: it runs once it is back.
    engines["c"].thaw()
    wait_for(lambda: server.job(waits)["status"] in FINISHED, "what waited has run")
    assert_ended_once(server, there)
    wait_for(lambda: not containers(engines["c"]), "what is left is removed")


def test_a_machine_that_comes_back_in_time_loses_no_line(
    engines: dict[str, PrivateEngine], cluster: Callable[..., Server]
):
    server = cluster(engine_timeout="60s").start()
    job_id = server.start_job({"name": "x", "on_node": {"gpu": "yes"}, "steps": [COUNTING]})
    server.wait_output(job_id, "line 5\n")
    engines["c"].kill()
    wait_for(lambda: not nodes(server)["c"]["reachable"], "it is known to be away")
    away = "Waiting for node c, which can't be reached"
    assert away.replace("'", "&#39;") in server.get(f"/ui/jobs/{job_id}").text
    assert server.get(f"/jobs/{job_id}/activity").json["waits_for"] == away
    engines["c"].start()
    wait_for(lambda: nodes(server)["c"]["reachable"], "it is known to be back")
    assert server.get(f"/jobs/{job_id}/activity").json["waits_for"] is None
    assert server.wait_finished(job_id)["steps"][0]["output"] == COUNTED


def test_a_server_that_starts_while_a_machine_is_away_takes_nothing_for_gone(
    engines: dict[str, PrivateEngine], cluster: Callable[..., Server]
):
    server = cluster(engine_timeout="60s").start()
    away = server.start_job({"name": "x", "on_node": {"gpu": "yes"}, "steps": [COUNTING]})
    here = server.start_job({"name": "y", "on_node": {"rapidflow.slots": "2"}, "steps": [COUNTING]})
    for job_id in (away, here):
        server.wait_output(job_id, "line 5\n")
    engines["c"].freeze()
    server.kill()
    server.start()
    assert server.wait_finished(here)["steps"][0]["output"] == COUNTED
    assert server.job(away)["status"] == "running"
    engines["c"].thaw()
    assert server.wait_finished(away)["steps"][0]["output"] == COUNTED
    wait_for(lambda: not containers(engines["c"]), "nothing is left")


def test_a_machine_that_is_not_listed_any_more_fails_its_builds_by_name(
    engines: dict[str, PrivateEngine], cluster: Callable[..., Server]
):
    server = cluster().start()
    job_id = server.start_job({"name": "x", "on_node": {"gpu": "yes"}, "steps": [_WAIT_FOR_FILE]})
    server.wait_output(job_id, "begun")
    server.kill()
    server.set(engines=f"a={engines['a'].host}")
    server.start()
    error = server.wait_finished(job_id)["job"]["error"]
    assert error == "node c: it is not among the machines of this server"
    server.stop()
    server.set(engines=f"a={engines['a'].host},c={engines['c'].host}")
    server.start()
    wait_for(lambda: not containers(engines["c"]), "what is left is removed when it is listed again")


def test_an_image_that_one_machine_lacks(engines: dict[str, PrivateEngine], cluster: Callable[..., Server]):
    engines["a"].docker("tag", images.BASH, "only-here:1", check=True)
    server = cluster().start()
    wait_for(lambda: all(node["problem"] is None for node in nodes(server).values()), "all are ready")
    job = server.run({"name": "x", "image": "only-here:1", "steps": ["echo done"]})["job"]
    assert (job["status"], job["node"]) == ("success", "a")
    job = server.run({"name": "x", "on_node": {"gpu": "yes"}, "image": "only-here:1", "steps": ["x"]})["job"]
    assert job["error"].startswith("could not pull image only-here:1")


def test_without_any_machine_the_server_is_not_ready(new_server: Callable[..., Server], tmp_path: Path):
    server = new_server(engines=f"a=unix://{tmp_path}/nothing.sock").start()
    job_id = server.start_job({"name": "x", "steps": ["echo done"]})
    wait_for(lambda: "no node can be used: a can't be reached" in server.get("/ready").text, "it says so")
    assert server.job(job_id)["status"] == "pending"


def test_on_postgres_too(
    engines: dict[str, PrivateEngine], cluster: Callable[..., Server], postgres: Postgres
):
    server = cluster(database_url=postgres.url).start()
    lost = server.start_job({"name": "x", "on_node": {"gpu": "never"}, "steps": ["echo done"]})
    pipeline = server.pipeline(
        {
            "name": "several",
            "jobs": {
                "there": {"on_node": {"gpu": "yes"}, "steps": ["echo done"]},
                "any": {"steps": ["echo done"]},
            },
        }
    )
    build = server.start_build(pipeline)
    assert server.wait_finished(build)["job"]["status"] == "success"
    parts = {job["part"]: job for job in server.get(f"/jobs?lead_id={build}").json}
    assert parts["there"]["node"] == "c"
    assert parts["any"]["node"] in engines
    assert server.job(lost)["waits_for"] == "a node: no node has label gpu=never"
    for page in ("/", "/ui/nodes", f"/ui/jobs/{lost}"):
        assert server.get(page).status == 200


def test_a_single_machine_runs_what_its_labels_fit(
    engines: dict[str, PrivateEngine], new_server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("DOCKER_HOST", engines["c"].host)
    server = new_server().start()
    job = server.run({"name": "x", "on_node": {"gpu": "yes"}, "steps": ["echo done"]})["job"]
    assert (job["status"], "node" in job) == ("success", False)
    job = server.run({"name": "y", "on_node": {"gpu": "yes", "arch": "arm64"}, "steps": ["echo done"]})["job"]
    assert job["error"] == (
        "the pipeline asks for a machine with labels arch=arm64, gpu=yes (on_node), and this server has a "
        "single machine, without label arch=arm64"
    )
    assert server.get("/nodes").json == []
