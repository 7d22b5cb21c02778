"""Passwords in clone URLs: stored apart, used for their server alone, shown to nobody."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.git_server import GitServer, git_server
from tests.support.leaks import holding
from tests.support.repos import Repo
from tests.support.repositories import add, definition
from tests.support.server import Server, containers_of, wait_for
from tests.support.uploads import packed, start, upload

PASSWORD = "p@ss/word:of+git"
QUOTED = "p%40ss%2Fword%3Aof+git"
STEPS = "steps: [cat file, git remote get-url origin, git log -1 --format=%s]\n"


@pytest.fixture
def git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GitServer]:
    """A git server with the repository `private` for anna, whose certificate servers of the test take."""
    (tmp_path / "git").mkdir()
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_SSL_NO_VERIFY", "1")
    with git_server(tmp_path / "git") as served:
        Repo(served.root / "private").commit({"file": "of the repository\n"}, "first")
        served.passwords = {"anna": PASSWORD}
        yield served


def config(git: GitServer, login: str = "", name: str = "private") -> str:
    return f"name: fetches  # as it was written\nrepo_name:   {git.url(name, login)}\n{STEPS}"


def put(server: Server, path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = server.request("PUT", path, json.dumps(body), {"Content-Type": "application/json"})
    assert answer.status == 200, answer.text
    return answer.json


def assert_fetched(details: dict[str, Any]) -> None:
    assert details["job"]["status"] == "success", details["job"]["error"]
    assert details["steps"][0]["output"] == "of the repository\n"


def test_a_password_in_a_url_fetches_and_is_nowhere_else(
    new_server: Callable[..., Server], git: GitServer
) -> None:
    server = new_server(executor="process").start()
    (git.root.parent / "home" / ".gitconfig").write_text("[credential]\n\thelper = store\n")
    submitted = config(git, f"anna:{QUOTED}")
    pipeline = server.pipeline(submitted)
    stored = server.get(f"/pipelines/{pipeline}").json["config"]
    assert stored == config(git, "anna")
    listed = server.get(f"/pipelines/{pipeline}/secrets").json
    assert [(one["name"], one["updated_by"]) for one in listed] == [("RAPIDFLOW_CLONE_PASSWORD", "api")]
    job = server.start_build(pipeline)
    details = server.wait_finished(job)
    assert_fetched(details)
    assert details["steps"][1]["output"] == f"https://{git.host}/private\n"
    assert details["job"]["repo_name"] == git.url("private", "anna")
    assert details["pipeline"]["config"] == stored
    assert details["environments"] == []
    assert ("/private/info/refs?service=git-upload-pack", f"anna:{PASSWORD}") in git.asked
    for path in (
        f"/pipelines/{pipeline}/secrets", f"/jobs/{job}", f"/jobs/{job}/timeline", f"/ui/jobs/{job}",
        f"/ui/pipelines/{pipeline}", "/", "/audit",
    ):  # fmt: skip
        answer = server.get(path)
        assert answer.status == 200 and PASSWORD not in answer.text and QUOTED not in answer.text, path
    # Neither is what a helper of the server's user was told to keep.
    assert holding(server.data, PASSWORD, QUOTED) == []
    assert holding(git.root.parent / "home", PASSWORD, QUOTED) == []
    assert PASSWORD not in server.log.read_text() and QUOTED not in server.log.read_text()


def test_it_is_in_no_container(new_server: Callable[..., Server], git: GitServer) -> None:
    server = new_server().start()
    job = server.start_job(
        f"name: a\nrepo_name: {git.url('private', f'anna:{QUOTED}')}\n"
        "steps: ['grep -rlD skip of[+]git /workspace /rapidflow /root /etc || echo none; "
        "env | grep -c of[+]git || echo begun; sleep 1000']\n"
    )
    server.wait_output(job, "begun\n")
    assert "\nnone\n0\nbegun\n" in server.stream(job), server.stream(job)
    (container,) = containers_of(server)
    shown = subprocess.run(["docker", "inspect", container], capture_output=True, text=True, check=True)
    assert "of+git" not in shown.stdout
    assert holding(server.data, PASSWORD, QUOTED) == []
    assert server.post(f"/jobs/{job}/cancel").status == 200


def test_a_url_without_a_password_keeps_it_for_its_server_and_user(
    new_server: Callable[..., Server], git: GitServer
) -> None:
    server = new_server(executor="process").start()
    pipeline = server.pipeline(config(git, f"anna:{QUOTED}"))
    first = server.wait_finished(server.start_build(pipeline))
    assert_fetched(first)
    changed = f"{config(git, 'anna')}# another comment\n"
    assert put(server, f"/pipelines/{pipeline}", {"config": changed})["config"] == changed
    assert_fetched(server.wait_finished(server.start_build(pipeline)))
    # Another user, or another server, is not given it.
    git.asked.clear()
    put(server, f"/pipelines/{pipeline}", {"config": config(git, "berta")})
    failed = server.wait_finished(server.start_build(pipeline))["job"]
    assert failed["status"] == "failed" and "could not fetch the source" in failed["error"]
    assert git.asked and PASSWORD not in str(git.asked)
    # What ran with it before can be retried, and so it can when the pipeline is gone.
    again = server.post(f"/jobs/{first['job']['id']}/retry").json["id"]
    assert_fetched(server.wait_finished(again))
    git.passwords["anna"] = "another password"
    put(server, f"/pipelines/{pipeline}", {"config": config(git, "anna:another%20password")})
    assert server.request("DELETE", f"/pipelines/{pipeline}").status == 200
    Repo(git.root / "other").commit({"file": "x"})
    git.asked.clear()
    again = server.post(f"/jobs/{again}/retry").json["id"]
    assert_fetched(server.wait_finished(again))
    assert PASSWORD not in str(git.asked)


def test_a_password_can_be_stored_apart_from_the_url_and_removed(
    new_server: Callable[..., Server], git: GitServer
) -> None:
    server = new_server(executor="process").start()
    git.passwords = {"anna": PASSWORD, "git": "only a token"}
    name = "RAPIDFLOW_CLONE_PASSWORD"
    for login, password in (("anna", PASSWORD), ("", "only a token")):
        pipeline = str(server.pipeline(config(git, login)))
        done = server.command("secret", "set", name, "--pipeline", pipeline, input=f"{password}\n")
        assert done.returncode == 0, done.stderr
        assert_fetched(server.wait_finished(server.start_build(int(pipeline))))
        assert server.command("secret", "remove", name, "--pipeline", pipeline).returncode == 0
        failed = server.wait_finished(server.start_build(int(pipeline)))["job"]
        assert failed["status"] == "failed"
    everywhere = server.command("secret", "set", name, input=f"{PASSWORD}\n")
    assert everywhere.returncode == 2
    assert f"'rapidflow secret set {name} --pipeline ID'" in everywhere.stderr
    ssh = str(server.pipeline({"name": "b", "repo_name": "git@127.0.0.1:x", "steps": ["true"]}))
    refused = server.command("secret", "set", name, "--pipeline", ssh, input=f"{PASSWORD}\n")
    assert "only a repository whose URL begins with https://" in refused.stderr


def test_a_pipeline_without_the_password_reads_nothing_that_another_fetched(
    new_server: Callable[..., Server], git: GitServer
) -> None:
    server = new_server(executor="process").start()
    good = server.wait_finished(server.start_job(config(git, f"anna:{QUOTED}")))
    assert_fetched(good)
    # Nor does a wrong password, or the commit as a submodule of a repository that anybody may read.
    public = Repo(git.root.parent / "public")
    public.git("init", "--quiet")
    public.commit({".gitmodules": f'[submodule "s"]\n\tpath = s\n\turl = {git.url("private")}\n'})
    public.git("update-index", "--add", "--cacheinfo", f"160000,{good['job']['commit']},s")
    public.git("commit", "--quiet", "--message", "a submodule")
    server.stop()
    server.set(file_roots=str(git.root.parent), source_hosts=git.host)
    server.start()
    for text in (
        config(git),
        config(git, "anna:wrong-password"),
        f"name: c\nrepo_name: {public.url}\nsteps: [cat s/file]\n",
    ):
        failed = server.run(text)["job"]
        assert failed["status"] == "failed" and "could not fetch the source" in failed["error"], text
        assert "wrong-password" not in failed["error"]
        assert "as in https://user:password@host/path" in failed["error"]


def test_submodules_on_the_same_server_are_fetched_with_it_and_no_others(
    new_server: Callable[..., Server], git: GitServer, tmp_path: Path
) -> None:
    inner = Repo(git.root / "inner")
    commit = inner.commit({"file": "of the submodule\n"})
    outer = Repo(git.root / "outer")
    (tmp_path / "git2").mkdir()
    with git_server(tmp_path / "git2") as stranger:
        foreign = Repo(stranger.root / "foreign").commit({"file": "of a stranger\n"})
        urls = {"a": "../inner", "b": stranger.url("foreign")}
        modules = "".join(
            f'[submodule "{one}"]\n\tpath = {one}\n\turl = {url}\n' for one, url in urls.items()
        )
        outer.commit({".gitmodules": modules})
        for path, one in (("a", commit), ("b", foreign)):
            outer.git("update-index", "--add", "--cacheinfo", f"160000,{one},{path}")
        outer.git("commit", "--quiet", "--message", "submodules")
        server = new_server(executor="process", source_hosts=stranger.host).start()
        text = f"name: a\nrepo_name: {git.url('outer', f'anna:{QUOTED}')}\nsteps: [cat a/file b/file]\n"
        details = server.run(text)
        assert details["steps"][0]["output"] == "of the submodule\nof a stranger\n"
        assert {login for _, login in stranger.asked} == {None}
        # A stranger who wants a password does not get it either.
        stranger.passwords = {"anna": PASSWORD}
        stranger.asked.clear()
        server.stop()
        for mirror in (server.data / "mirrors").glob("*foreign*"):
            subprocess.run(["rm", "-rf", str(mirror)], check=True)
        server.start()
        assert server.run(text)["job"]["status"] == "failed"
        assert stranger.asked and {login for _, login in stranger.asked} == {None}


def test_a_submodule_whose_url_has_a_password_is_fetched_with_that(
    new_server: Callable[..., Server], git: GitServer, tmp_path: Path
) -> None:
    commit = Repo(git.root / "inner").commit({"file": "of the submodule\n"})
    outer = Repo(tmp_path / "repos" / "outer")
    url = git.url("inner", f"anna:{QUOTED}")
    outer.commit({".gitmodules": f'[submodule "a"]\n\tpath = a\n\turl = {url}\n'})
    outer.git("update-index", "--add", "--cacheinfo", f"160000,{commit},a")
    outer.git("commit", "--quiet", "--message", "a submodule")
    roots = str(tmp_path / "repos")
    server = new_server(executor="process", file_roots=roots, source_hosts=git.host).start()
    steps = ["cat a/file", "git config submodule.a.url", "cat a/.git/config"]
    details = server.run({"name": "a", "repo_name": outer.url, "steps": steps})
    assert details["steps"][0]["output"] == "of the submodule\n"
    assert details["steps"][1]["output"] == f"https://{git.host}/inner\n"
    assert "anna" not in details["steps"][2]["output"]
    configs = list((server.data / "mirrors").glob("*/config"))
    assert len(configs) == 2 and not any(QUOTED in path.read_text() for path in configs)


def test_what_an_upload_fetched_with_a_password_is_read_by_no_other_upload(
    new_server: Callable[..., Server], git: GitServer, tmp_path: Path
) -> None:
    commit = Repo(git.root / "inner").commit({"file": "of the submodule\n"})
    known = Repo(tmp_path / "repos" / "known")
    known.commit({".rapidflow.yml": definition()})
    roots = str(tmp_path / "repos")
    server = new_server(executor="process", file_roots=roots, source_hosts=git.host).start()
    pipeline = add(server, known)["pipelines"][0]["id"]

    def built(name: str, login: str) -> dict[str, Any]:
        tree = Repo(tmp_path / name)
        url = git.url("inner", login)
        modules = f'[submodule "a"]\n\tpath = a\n\turl = {url}\n'
        tree.commit({".rapidflow.yml": definition(steps="cat a/file"), ".gitmodules": modules})
        tree.git("update-index", "--add", "--cacheinfo", f"160000,{commit},a")
        tree.git("commit", "--quiet", "--amend", "--message", "a submodule")
        head = tree.git("rev-parse", "HEAD")
        number = upload(server, pipeline, head, packed(tree, head)).json["id"]
        return server.wait_finished(start(server, pipeline, number).json["id"])

    assert built("good", f"anna:{QUOTED}")["steps"][0]["output"] == "of the submodule\n"
    for name, login in (("wrong", "anna:wrong-password"), ("none", "")):
        failed = built(name, login)["job"]
        assert failed["status"] == "failed" and "could not fetch the source" in failed["error"]


def test_a_server_to_which_is_redirected_is_not_given_it(
    new_server: Callable[..., Server], git: GitServer, tmp_path: Path
) -> None:
    (tmp_path / "git2").mkdir()
    with git_server(tmp_path / "git2") as stranger:
        Repo(stranger.root / "private").commit({"file": "of the repository\n"})
        git.elsewhere = f"https://localhost:{stranger.host.partition(':')[2]}"
        server = new_server(executor="process", source_hosts="localhost").start()
        text = config(git, f"anna:{QUOTED}", "elsewhere/private")
        assert_fetched(server.run(text))
        stranger.passwords = {"anna": PASSWORD}
        assert server.run(text)["job"]["status"] == "failed"
        assert len(stranger.asked) > 2 and {login for _, login in stranger.asked} == {None}


def test_the_page_and_the_command_take_a_password_out_too(
    new_server: Callable[..., Server], git: GitServer, tmp_path: Path
) -> None:
    server = new_server(executor="process").start()
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    quoted = config(git, f"anna:{QUOTED}").replace("%", "%25").replace("+", "%2B").replace("#", "%23")
    added = server.request("POST", "/ui/pipelines", f"config={quoted}".replace(" ", "+"), form)
    assert added.status == 303, added.text
    pipeline = int(added.headers["location"].rpartition("/")[2].partition("?")[0])
    assert server.get(f"/pipelines/{pipeline}").json["config"] == config(git, "anna")
    edited = server.request("POST", f"/ui/pipelines/{pipeline}", f"config={quoted}".replace(" ", "+"), form)
    said = server.get(edited.headers["location"]).text
    assert "The password of the clone URL is stored separately." in said
    assert_fetched(server.wait_finished(server.start_build(pipeline)))
    assert QUOTED not in server.get(f"/ui/pipelines/{pipeline}").text

    file = tmp_path / "pipeline.yml"
    file.write_text(config(git, "anna:out-of-date").replace("fetches", "of the command"))
    assert server.command("run", str(file)).returncode == 1
    file.write_text(config(git, f"anna:{QUOTED}").replace("fetches", "of the command"))
    for _ in range(2):
        done = server.command("run", str(file))
        assert done.returncode == 0, done.stderr
        assert QUOTED not in done.stdout + done.stderr
    assert len(server.get("/pipelines").json) == 2
    wait_for(lambda: not list((server.data / "work").iterdir()), "nothing is left of the builds")
    assert holding(server.data, PASSWORD, QUOTED, "out-of-date") == []


def test_what_an_older_version_stored_of_a_password_is_brought_where_it_belongs(
    new_server: Callable[..., Server], git: GitServer
) -> None:
    server = new_server(executor="process").start()
    old = config(git, f"anna:{QUOTED}")
    escaped = json.dumps(
        {"name": "b", "repo_name": git.url("private", f"anna:{QUOTED}"), "steps": ["cat file"]}
    )
    pipelines = [server.pipeline(config(git, "anna")), server.pipeline(config(git, "anna"))]
    jobs = [server.wait_finished(server.start_build(one))["job"]["id"] for one in pipelines]
    commit = Repo.__new__(Repo)
    commit.path = git.root / "private"
    head = commit.git("rev-parse", "HEAD")
    server.stop()
    # As it was: in texts, jobs, and the name and configuration of the one mirror.
    server.sql("UPDATE definition SET config = ? WHERE id = 1", old)
    server.sql("UPDATE definition SET config = ? WHERE id = 2", escaped.replace("/", "\\/"))
    server.sql("UPDATE job SET repo_name = ?, `commit` = ?", git.url("private", f"anna:{QUOTED}"), head)
    mirror = server.data / "mirrors" / "older.git"
    git_environment = {**os.environ, "GIT_SSL_NO_VERIFY": "1"}
    subprocess.run(
        ["git", "clone", "--quiet", "--mirror", git.url("private", f"anna:{QUOTED}"), str(mirror)],
        env=git_environment,
        check=True,
    )
    assert len(holding(server.data, QUOTED)) >= 2
    server.start()
    assert server.get("/pipelines/1").json["config"] == config(git, "anna")
    assert holding(server.data, PASSWORD, QUOTED) == []
    for job in jobs:
        assert server.job(job)["repo_name"] == git.url("private", "anna")
    assert "still show them" in server.log.read_text()
    assert not mirror.exists()
    # Retries have the mirror of before, one for each pipeline, and fetch nothing that is there.
    git.asked.clear()
    for job in jobs:
        again = server.wait_finished(server.post(f"/jobs/{job}/retry").json["id"])
        assert_fetched(again)
    assert git.asked == []
    for pipeline in pipelines:
        assert_fetched(server.wait_finished(server.start_build(pipeline)))
    log = server.log.read_text()
    server.stop()
    server.start()
    assert server.log.read_text().count("still show them") == log.count("still show them") == 1
