"""Retention: what the settings do not keep goes, and nothing else."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import images
from tests.support.builds import engine
from tests.support.consistency import stored
from tests.support.registry import Registry
from tests.support.repos import Repo
from tests.support.server import Server, wait_for

GOOD = {"name": "good", "steps": ["echo good"]}
BAD = {"name": "bad", "steps": ["seq 1 5000; exit 1"]}


def run(server: Server, pipeline_id: int) -> int:
    job_id = server.start_build(pipeline_id)
    server.wait_finished(job_id)
    wait_for(
        lambda: stored(server, "SELECT log_size FROM job WHERE id = ?", job_id)[0][0], "the log is sealed"
    )
    return job_id


def pruned(server: Server, query: str = "") -> dict[str, Any]:
    answer = server.post(f"/prune{query}")
    assert answer.status == 200, answer.text
    return answer.json


def test_builds_beyond_the_count_go_with_all_that_is_theirs(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process", keep_builds="2").start()
    good, bad = server.pipeline(GOOD), server.pipeline(BAD)
    kept_success = run(server, mixed := server.pipeline({"name": "mixed", "steps": ["echo one"]}))
    server.request("PUT", f"/pipelines/{mixed}", '{"config": "name: mixed\\nsteps: [exit 1]"}',
                   {"Content-Type": "application/json"})  # fmt: skip
    failures = [run(server, mixed) for _ in range(4)]
    first = [run(server, good) for _ in range(3)]
    other = run(server, bad)
    for job_id in first:
        assert server.details(job_id)["steps"][0]["output"] == "good\n"  # and is kept in memory
    waiting = server.start_job({"name": "running", "steps": ["sleep 1000"]})

    going = {failures[0], failures[1], first[0]}
    told = pruned(server, "?dry_run=true")
    assert told["dry_run"] is True
    assert {build["id"] for build in told["builds"]} == going
    assert {build["reason"] for build in told["builds"]} == {"the pipeline has more than 2 finished builds"}
    assert server.get(f"/jobs/{first[0]}/details").status == 200
    assert "removed" not in server.log.read_text()
    assert pruned(server)["builds"] == told["builds"]
    assert "removed 3 builds that the settings do not keep" in server.log.read_text()

    logs = {path.name for path in (server.data / "logs").glob("*/*.log")}
    for job_id in going:
        for path in ("", "/details", "/logs", "/logs/stream", "/steps"):
            assert server.get(f"/jobs/{job_id}{path}").status == 404, path
        assert f"{job_id}.log" not in logs
    for job_id in (kept_success, *failures[2:], *first[1:], other):
        assert server.get(f"/jobs/{job_id}/logs/stream").text.endswith("=== Build completed ===\n")
        assert f"{job_id}.log" in logs
    assert server.job(waiting)["status"] == "running"
    left = ",".join(str(job_id) for job_id in going)
    for table in ("step", "environment"):
        assert stored(server, f"SELECT COUNT(*) FROM {table} WHERE job_id IN ({left})") == [(0,)]
    for page in ("/", f"/ui/pipelines/{good}", f"/ui/jobs/{first[1]}"):
        assert server.get(page).status == 200
    assert pruned(server) == {"dry_run": False, "builds": [], "mirrors": [], "images": []}
    assert run(server, good) > waiting  # no number is given twice


def test_a_retry_leads_to_its_original_until_that_is_removed(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process", keep_builds="1").start()
    first = run(server, server.pipeline(GOOD))
    again = server.post(f"/jobs/{first}/retry").json["id"]
    server.wait_finished(again)
    link = f'<a href="/ui/jobs/{first}">#{first}</a>'
    assert link in server.get(f"/ui/jobs/{again}").text
    wait_for(lambda: [build["id"] for build in pruned(server)["builds"]] == [first], "it is removed")
    page = server.get(f"/ui/jobs/{again}").text
    assert link not in page and f"#{first} (removed)" in page


def test_a_log_that_can_not_be_removed_keeps_no_other(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process", keep_builds="1").start()
    good = server.pipeline(GOOD)
    blocked, strays, last, kept = (run(server, good) for _ in range(4))
    logs = server.data / "logs" / "0000"
    (logs / f"{blocked}.index").unlink()
    (logs / f"{blocked}.index").mkdir()
    for name in ("note", "db.log", "old.txt"):
        (logs / f"{strays}.services").mkdir(exist_ok=True)
        (logs / f"{strays}.services" / name).write_text("mine")
    assert [build["id"] for build in pruned(server)["builds"]] == [blocked, strays, last]
    assert not (server.data / "removing.json").exists()
    left = {str(path.relative_to(logs)) for path in logs.rglob("*") if path.is_file()}
    assert left == {
        f"{kept}.log",
        f"{kept}.index",
        f"{strays}.services/note",
        f"{strays}.services/old.txt",
    }
    assert f"the log of job {blocked}, which is removed, can't be removed" in server.log.read_text()
    server.stop()
    assert server.command("doctor", "--fix").returncode == 0
    assert {path.name for path in logs.iterdir()} == {f"{kept}.log", f"{kept}.index"}
    assert (server.data / "strays" / "0000" / f"{strays}.services" / "note").read_text() == "mine"


def test_what_is_too_old_goes_but_never_the_last_success(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process").start()
    good, bad = server.pipeline(GOOD), server.pipeline(BAD)
    old = [run(server, good), run(server, good), run(server, bad), run(server, bad)]
    younger = run(server, bad)
    server.stop()
    server.sql("UPDATE job SET finished_at = finished_at - 7200000 WHERE id <> ?", younger)
    server.set(keep_age="1h")
    server.start()
    going = [build["id"] for build in pruned(server)["builds"]]
    assert set(going) == {old[0], old[2], old[3]}
    assert server.get(f"/jobs/{old[1]}").status == server.get(f"/jobs/{younger}").status == 200


def test_the_oldest_go_where_all_logs_take_too_much(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process", keep_size="60k").start()
    bad = server.pipeline(BAD)
    ids = [run(server, bad) for _ in range(6)]
    # Only what is at rest counts, which takes a minute.
    size = 24_000
    server.stop()
    server.sql("UPDATE job SET stored_size = ?", size)
    server.start()
    assert [build["id"] for build in pruned(server)["builds"]] == ids[:4]
    assert [build["bytes"] for build in pruned(server, "?dry_run=1")["builds"]] == []


def test_logs_are_at_rest_after_a_minute_and_nobody_notices(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process").start()
    job_id = run(server, server.pipeline({"name": "long", "steps": ["seq 1 300000", "printf end"]}))
    paths = [f"/jobs/{job_id}/{path}" for path in ("details", "logs", "logs/stream", "logs/stream?tail=3")]
    paths += [f"/ui/jobs/{job_id}/log/{path}" for path in ("map", "times?start=0&end=90000", "outline")]
    paths += [f"/ui/jobs/{job_id}/log/search?q=99"]
    before = [server.get(path).body for path in paths]
    server.stop()
    server.sql("UPDATE job SET finished_at = finished_at - 60000, created_at = created_at - 60000")
    server.start()
    before[0] = server.get(paths[0]).body  # it shows the time
    wait_for(lambda: list((server.data / "logs").glob("*/*.log.zst")), "the log is compressed", seconds=75)
    wait_for(lambda: not list((server.data / "logs").glob("*/*.log")), "the plain log is gone")
    for path, body in zip(paths, before, strict=True):
        assert server.get(path).body == body, path
    part = server.get(f"/jobs/{job_id}/logs/stream", {"Range": "bytes=1000000-1000099"})
    assert (part.status, part.body) == (206, before[2][1_000_000:1_000_100])
    taken = stored(server, "SELECT stored_size, log_size FROM job")[0]
    assert 0 < taken[0] < taken[1] / 3


def test_unused_mirrors_go_and_come_back(new_server: Callable[..., Server], repo: Repo) -> None:
    repo.commit({"hello": b"hello"})
    server = new_server(executor="process", keep_mirrors="1k").start()
    pipeline_id = server.pipeline({"name": "source", "repo_name": repo.url, "steps": ["cat hello"]})
    first = run(server, pipeline_id)
    (mirror,) = (server.data / "mirrors").iterdir()
    assert pruned(server)["mirrors"] == []  # a build may be about to use it
    long_ago = time.time() - 7200
    os.utime(mirror / "rapidflow-used", (long_ago, long_ago))
    told = pruned(server, "?dry_run=true")["mirrors"]
    assert [entry["name"] for entry in told] == [mirror.name]
    assert mirror.exists()
    assert pruned(server)["mirrors"] == told
    assert not mirror.exists()
    retried = server.post(f"/jobs/{first}/retry").json["id"]
    assert server.wait_finished(retried)["steps"][0]["output"] == "hello"


@pytest.fixture
def registry() -> Iterator[Registry]:
    made = Registry()
    yield made
    made.close()


def test_only_images_that_were_pulled_for_builds_go(
    new_server: Callable[..., Server], registry: Registry
) -> None:
    server = new_server(keep_images="1k").start()
    engine("tag", images.ensure(images.BASH), "rapidflow-test/mine:1")
    run(server, server.pipeline({"name": "mine", "image": "rapidflow-test/mine:1", "steps": ["true"]}))
    pulled = server.pipeline({"name": "pulled", "image": registry.image, "steps": ["sleep 1000"]})
    job_id = server.start_build(pulled)
    server.wait_output(job_id, "=== Step 1")
    assert pruned(server)["images"] == []  # a build runs in it
    assert server.post(f"/jobs/{job_id}/cancel").status == 200
    assert [entry["name"] for entry in pruned(server, "?dry_run=true")["images"]] == [registry.image]
    assert [entry["name"] for entry in pruned(server)["images"]] == [registry.image]
    assert engine("images", "--quiet", registry.image) == ""
    assert engine("images", "--quiet", "rapidflow-test/mine:1") != ""
    assert pruned(server)["images"] == []
    engine("rmi", "rapidflow-test/mine:1")
    again = server.start_build(pulled)
    server.wait_output(again, "=== Step 1")
    assert server.post(f"/jobs/{again}/cancel").status == 200


def test_parts_that_a_retry_has_taken_over_stay_as_long_as_it(
    new_server: Callable[..., Server], tmp_path: Path
) -> None:
    server = new_server(executor="process", keep_builds="1").start()
    jobs = "".join(
        f"  {name}: {{needs: [{needs}], steps: ['echo part {name}; test -e {tmp_path}/{name}']}}\n"
        for name, needs in (("a", ""), ("b", "a"), ("c", "b"))
    )
    pipeline = server.pipeline(f"name: parts\njobs:\n{jobs}")
    builds: list[int] = []
    for name in "abc":
        (tmp_path / name).touch()
        answer = server.post(f"/jobs/{builds[-1]}/retry", {"only": "failed"}) if builds else None
        builds.append(run(server, pipeline) if answer is None else answer.json["id"])
        server.wait_finished(builds[-1])
    wait_for(
        lambda: stored(server, "SELECT COUNT(*) FROM job WHERE log_size IS NULL") == [(0,)], "logs are sealed"
    )
    assert pruned(server)["builds"] == []
    parts = [step["part"]["job_id"] for step in server.get(f"/jobs/{builds[-1]}/steps").json]
    for name, job_id in zip("abc", parts, strict=True):
        assert f"part {name}\n" in server.get(f"/jobs/{job_id}/logs/stream").text
    # Once nothing needs them, they go like others.
    run(server, pipeline)
    while gone := pruned(server)["builds"]:
        assert {build["id"] for build in gone} <= set(builds)
    assert [job["id"] for job in server.get("/jobs").json if job["id"] in builds] == []
