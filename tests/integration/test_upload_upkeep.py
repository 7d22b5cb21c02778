"""Uploads in the upkeep of a server: with the rules for builds, with users, after a restore."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from tests.support.consistency import stored
from tests.support.repos import Repo
from tests.support.repositories import add, definition
from tests.support.server import Server, wait_for
from tests.support.uploads import kept, pack, start, upload
from tests.support.users import add_user, as_, token_of


def test_builds_of_uploads_are_counted_apart_and_a_failed_prune_keeps_no_upload(
    new_server: Callable[..., Server], repo: Repo, tmp_path: Path
) -> None:
    server = new_server(executor="process", keep_builds="1").start()
    repo.commit({".rapidflow.yml": definition(steps="exit 1")})
    pipeline = add(server, repo)["pipelines"][0]["id"]
    commit, data = pack(tmp_path / "tree", {".rapidflow.yml": definition(steps="exit 2")})
    first = server.start_build(pipeline)
    second = server.start_build(pipeline)
    number = upload(server, pipeline, commit, data).json["id"]
    uploaded = [start(server, pipeline, number).json["id"] for _ in range(2)]
    for job_id in (first, second, *uploaded):
        server.wait_finished(job_id)
    wait_for(
        lambda: stored(server, "SELECT COUNT(*) FROM job WHERE log_size IS NULL")[0][0] == 0,
        "all logs are sealed",
    )
    told = server.post("/prune?dry_run=true").json
    assert sorted(build["id"] for build in told["builds"]) == [first, uploaded[0]]
    # The removal of builds fails.
    (server.data / "removing.json").mkdir()
    server.stop()
    server.sql("UPDATE upload SET created_at = 0")
    server.sql("UPDATE job SET finished_at = 1000, started_at = 1000 WHERE upload_id IS NOT NULL")
    server.start()
    assert kept(server) == [f"{number}.git"]
    assert server.post("/prune").status == 500
    assert kept(server) == []


def test_uploads_go_with_the_user(new_server: Callable[..., Server], repo: Repo, tmp_path: Path) -> None:
    server = new_server(executor="process").start()
    repo.commit({".rapidflow.yml": definition()})
    pipeline = add(server, repo)["pipelines"][0]["id"]
    for name, role in (("root", "admin"), ("anna", "builder"), ("bert", "builder")):
        add_user(server, name, role)
    root, anna, bert = (as_(token_of(server, name)) for name in ("root", "anna", "bert"))
    commit, data = pack(tmp_path / "tree", {".rapidflow.yml": definition()})
    number, other = (upload(server, pipeline, commit, data, who).json["id"] for who in (anna, bert))
    (user,) = [
        one["id"] for one in server.request("GET", "/users", headers=root).json if one["name"] == "anna"
    ]
    assert server.request("DELETE", f"/users/{user}", headers=root).status == 200
    assert kept(server) == [f"{other}.git"]
    # Nor is it that of a later user of the same name, where the command removed the user.
    assert server.command("user", "remove", "bert").returncode == 0
    add_user(server, "bert", "builder")
    for name, upload_id in (("bert", number), ("bert", other)):
        answer = start(server, pipeline, upload_id, as_(token_of(server, name)))
        assert answer.status == 422 and "you have no upload" in answer.json["error"]


def test_uploads_that_a_restored_backup_does_not_have_are_forgotten(
    new_server: Callable[..., Server], repo: Repo, tmp_path: Path
) -> None:
    server = new_server(executor="process").start()
    repo.commit({".rapidflow.yml": definition()})
    pipeline = add(server, repo)["pipelines"][0]["id"]
    commit, data = pack(tmp_path / "tree", {".rapidflow.yml": definition()})
    gone, there = (upload(server, pipeline, commit, data).json["id"] for _ in range(2))
    job_id = start(server, pipeline, gone).json["id"]
    server.wait_finished(job_id)
    server.stop()
    shutil.rmtree(server.data / "uploads" / f"{gone}.git")
    server.start()
    assert stored(server, "SELECT id FROM upload") == [(there,)]
    answer = server.post(f"/jobs/{job_id}/retry")
    assert answer.status == 400 and "is not kept any more" in answer.json["error"]
