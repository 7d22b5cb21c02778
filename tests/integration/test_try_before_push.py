"""`rapidflow run .`: the working tree is built before it is pushed, whoever may do that."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support import fork_server
from tests.support.receiver import receiving
from tests.support.repos import Repo
from tests.support.repositories import add, definition
from tests.support.server import COMMAND, Server, wait_for
from tests.support.uploads import kept, pack, start, upload
from tests.support.users import add_user, as_, token_of

Done = subprocess.CompletedProcess[str]
_SECRET = "correct-horse-battery"


def clone_of(repo: Repo, path: Path) -> Repo:
    """A clone with a work tree, as a developer has one."""
    repo.git("clone", "--quiet", repo.url, str(path))
    made = Repo.__new__(Repo)
    made.path, made.url = path, f"file://{path}"
    return made


def run(server: Server, what: Path | str, *arguments: str, **variables: str) -> Done:
    """`rapidflow run` of what it is given."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("RAPIDFLOW_")}
    environment = {**kept, "RAPIDFLOW_URL": server.url, **variables}
    done = fork_server.run("run", str(what), *arguments, env=environment, timeout=60)
    assert b"Traceback" not in done.stderr, done.stderr
    return Done(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def job_of(server: Server, done: Done) -> dict[str, Any]:
    """The job that the command has started."""
    match = re.search(r"^job (\d+) started$", done.stderr, re.MULTILINE)
    assert match is not None, done.stderr
    return server.job(int(match[1]))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, repos: Path) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("trying")
    made = Server(folder / "data", executor="process", file_roots=str(repos), grace="1s").start()
    yield made
    made.stop()


@pytest.fixture
def work(server: Server, repo: Repo, tmp_path: Path) -> Repo:
    """A work tree of a repository that the server has, with a pipeline that prints its files."""
    repo.commit(
        {
            ".rapidflow.yml": definition(steps="cat *.txt; ls"),
            ".gitignore": "*.log\nignored/\n",
            "a.txt": "pushed\n",
            "gone.txt": "gone\n",
            "same.txt": "same\n",
        }
    )
    add(server, repo)
    return clone_of(repo, tmp_path / "work")


def test_what_is_in_the_work_tree_is_built(server: Server, work: Repo) -> None:
    before = work.git("rev-parse", "HEAD")
    (work.path / "a.txt").write_text("changed\n")
    (work.path / "gone.txt").unlink()
    (work.path / "new.txt").write_text("new\n")
    (work.path / "debug.log").write_text("left at home")
    (work.path / "script.sh").write_text("#!/bin/sh\necho ran\n")
    (work.path / "script.sh").chmod(0o755)
    (work.path / "link").symlink_to("a.txt")
    text = definition(steps="cat *.txt; ls; ./script.sh; cat link; git status --short")
    (work.path / ".rapidflow.yml").write_text(text)
    status = work.git("status", "--porcelain")
    done = run(server, work.path)
    assert done.returncode == 0, done.stderr
    output = done.stdout.split("\n", 1)[1]
    assert output.startswith(
        "changed\nnew\nsame\na.txt\nlink\nnew.txt\nsame.txt\nscript.sh\nran\nchanged\n\n==="
    )
    assert f"the working tree is {before[:12]} with files 2 changed, 3 new, 1 deleted" in done.stderr
    job = job_of(server, done)
    assert (job["event"], job["branch"], job["ref"]) == ("manual", None, None)
    assert job["title"] == f"Working tree of Test at {before[:12]}" or job["title"].endswith(before[:12])
    # The repository is as it was, with nothing of it.
    assert work.git("status", "--porcelain") == status
    assert subprocess.run(["git", "cat-file", "-e", job["commit"]], cwd=work.path).returncode != 0


def test_it_is_run_from_within_a_folder_of_the_tree(server: Server, work: Repo) -> None:
    (work.path / "deep" / "er").mkdir(parents=True)
    (work.path / "deep" / "er" / "new.txt").write_text("new\n")
    kept = {key: value for key, value in os.environ.items() if not key.startswith("RAPIDFLOW_")}
    for name in (".", ".."):
        done = subprocess.run(
            [*COMMAND, "--url", server.url, "run", name], cwd=work.path / "deep" / "er", env=kept,
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "deep\n" in done.stdout


def test_a_failed_build_and_one_that_goes_on_have_the_exit_codes_of_run(server: Server, work: Repo) -> None:
    (work.path / ".rapidflow.yml").write_text(definition(steps="exit 3"))
    assert run(server, work.path).returncode == 1
    (work.path / ".rapidflow.yml").write_text(definition(steps="'echo up; exec sleep 1000'"))
    kept = {key: value for key, value in os.environ.items() if not key.startswith("RAPIDFLOW_")}
    command = subprocess.Popen(
        [*COMMAND, "--url", server.url, "run", str(work.path)], env=kept, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert command.stdout is not None
    while command.stdout.readline() != "up\n":
        assert command.poll() is None
    command.send_signal(signal.SIGINT)
    _, errors = command.communicate(timeout=60)
    assert command.returncode == 130
    number = re.search(r"job (\d+) goes on", errors)
    assert number is not None and server.job(int(number[1]))["status"] == "running"
    server.post(f"/jobs/{number[1]}/cancel")


def test_a_path_is_a_folder_and_a_word_is_first_a_pipeline(server: Server, work: Repo) -> None:
    name = f"named-{work.path.parent.name}"
    folder = work.path / name
    folder.mkdir()
    (folder / "new.txt").write_text("new\n")
    kept = {key: value for key, value in os.environ.items() if not key.startswith("RAPIDFLOW_")}

    def ran(*arguments: str) -> str:
        done = subprocess.run(
            [*COMMAND, "--url", server.url, "run", *arguments], cwd=work.path, env=kept,
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        return done.stdout + done.stderr

    assert "the working tree is" in ran(name)
    server.pipeline({"name": name, "steps": ["echo of the pipeline"]})
    assert "of the pipeline" in ran(name)
    assert "the working tree is" in ran(f"./{name}")
    assert "there is no pipeline and no file './nothing'" in ran("./nothing")
    assert "--pipeline is for a folder" in ran(name, "--pipeline", "ci")
    assert "leave out --branch" in ran(".", "--branch", "main")


def test_secrets_are_those_of_the_pipeline_and_of_no_other(server: Server, work: Repo, repo: Repo) -> None:
    added = next(one for one in server.get("/repositories").json if one["url"] == repo.url)
    number = added["pipelines"][0]["id"]
    for path in (f"/pipelines/{number}/secrets/TOKEN", "/secrets/EVERYWHERE"):
        body = json.dumps({"value": _SECRET})
        assert server.request("PUT", path, body, {"Content-Type": "application/json"}).status in (200, 201)
    text = definition(more="secrets: [TOKEN]\n", steps='test "$TOKEN" = correct-horse-battery && echo got it')
    (work.path / ".rapidflow.yml").write_text(text)
    done = run(server, work.path)
    assert done.returncode == 0 and "got it" in done.stdout
    text = definition(more="secrets: [TOKEN, EVERYWHERE]\n", steps="env | sort")
    (work.path / ".rapidflow.yml").write_text(text)
    refused = run(server, work.path)
    assert refused.returncode == 1 and "EVERYWHERE" in refused.stdout
    without = run(server, work.path, "--no-secrets", "--env", "MORE=x")
    assert without.returncode == 1  # a variable that is not in env of a pipeline with secrets
    without = run(server, work.path, "--no-secrets")
    assert without.returncode == 0, without.stdout
    assert "TOKEN" not in without.stdout and "RAPIDFLOW_EVENT=manual\n" in without.stdout
    assert "RAPIDFLOW_BRANCH=\n" in without.stdout
    again = server.post(f"/jobs/{job_of(server, without)['id']}/retry").json["id"]
    assert "TOKEN" not in server.wait_finished(again)["steps"][0]["output"]


def test_a_definition_that_is_not_valid_is_refused_before_it_is_sent(server: Server, work: Repo) -> None:
    (work.path / ".rapidflow.yml").write_text("name: ci\nstep: []\n")
    done = run(server, work.path)
    assert done.returncode == 2 and "uploading" not in done.stderr
    assert "rapidflow: .rapidflow.yml: line 2, column 1: unknown key 'step'" in done.stderr
    (work.path / ".rapidflow.yml").write_text(definition(more="repo_name: file:///etc\n"))
    assert "repo_name" in run(server, work.path).stderr
    (work.path / ".rapidflow.yml").unlink()
    assert "has neither .rapidflow.yml nor .rapidflow/*.yml" in run(server, work.path).stderr
    (work.path / ".rapidflow.yml").symlink_to("a.txt")
    done = run(server, work.path)
    assert done.returncode == 1 and ".rapidflow.yml is a link" in done.stdout


def test_of_several_definitions_one_is_chosen(server: Server, repo: Repo, tmp_path: Path) -> None:
    files = {f".rapidflow/{name}.yml": definition(f"the {name}", steps=f"echo of {name}") for name in "ab"}
    repo.commit({**files})
    add(server, repo)
    work = clone_of(repo, tmp_path / "work")
    done = run(server, work.path)
    assert done.returncode == 2
    assert "there are several definitions" in done.stderr
    assert "'the a' (.rapidflow/a.yml), 'the b' (.rapidflow/b.yml)" in done.stderr
    assert "of b" in run(server, work.path, "--pipeline", "the b").stdout
    assert "of a" in run(server, work.path, "--pipeline", ".rapidflow/a.yml").stdout
    assert "of b" in run(server, work.path / ".rapidflow" / "b.yml").stdout
    assert "there is no definition 'c'" in run(server, work.path, "--pipeline", "c").stderr
    (work.path / ".rapidflow" / "c.yml").write_text(definition("c"))
    done = run(server, work.path, "--pipeline", "c")
    assert done.returncode == 2
    assert "the server has no pipeline for .rapidflow/c.yml yet; push that file once" in done.stderr


def test_a_tree_of_no_repository_of_the_server_is_refused(server: Server, tmp_path: Path) -> None:
    done = run(server, tmp_path)
    assert done.returncode == 2 and "is not in the work tree of a git repository" in done.stderr
    stranger = Repo(tmp_path / "stranger")
    stranger.commit({".rapidflow.yml": definition()})
    assert "has no remote" in run(server, stranger.path).stderr
    stranger.git("remote", "add", "local", "../other")
    assert f"add it with 'rapidflow add {(tmp_path / 'other').as_uri()}'" in run(server, stranger.path).stderr
    stranger.git("remote", "remove", "local")
    stranger.git("remote", "add", "origin", "https://anna:hunter22@example.com/team/app.git")
    done = run(server, stranger.path)
    assert done.returncode == 2 and "hunter22" not in done.stderr
    assert "rapidflow add https://anna@example.com/team/app.git" in done.stderr or (
        "rapidflow add https://example.com/team/app.git" in done.stderr
    )


def test_it_has_no_effect_on_what_else_is_known_of_the_pipeline(
    server: Server, work: Repo, repo: Repo
) -> None:
    added = next(one for one in server.get("/repositories").json if one["url"] == repo.url)
    number = added["pipelines"][0]["id"]
    server.wait_finished(server.start_build(number))
    badge = server.get(f"/pipelines/{number}/badge.svg").text
    assert "passing" in badge or "success" in badge
    with receiving() as receiver:
        body = json.dumps({"value": receiver.url})
        headers = {"Content-Type": "application/json"}
        assert server.request("PUT", f"/pipelines/{number}/secrets/HOOK", body, headers).status in (200, 201)
        notify = "notify: [{webhook: HOOK, when: always}]\n"
        grouped = "concurrency: {group: one, when_busy: cancel}\n"
        text = definition(steps="exit 3", more=notify + grouped)
        (work.path / ".rapidflow.yml").write_text(text)
        job = job_of(server, run(server, work.path))
        assert job["status"] == "failed"
        repo.commit({".rapidflow.yml": definition(more=notify + grouped)})
        pushed = server.wait_finished(server.start_build(number))["job"]
        wait_for(lambda: receiver.received, "the push is told")
    assert [json.loads(one.body)["data"]["job"]["id"] for one in receiver.received] == [pushed["id"]]
    assert server.get(f"/pipelines/{number}/badge.svg").text == badge
    with closing(sqlite3.connect(server.data / "rapidflow.db")) as database:
        groups = dict(database.execute("SELECT id, concurrency_group FROM job"))
    assert groups[job["id"]] == f"repository {added['id']}, uploads of cli: one"
    assert groups[pushed["id"]] == f"repository {added['id']}: one"
    page = server.get(f"/ui/jobs/{job['id']}").text
    assert "Working tree of" in page
    assert server.get(f"/ui/repositories/{added['id']}/branches").status == 200


def test_only_builders_who_see_the_pipeline_may(
    new_server: Callable[..., Server], repo: Repo, tmp_path: Path
) -> None:
    server = new_server(executor="process").start()
    repo.commit({".rapidflow.yml": definition(steps="cat mine", more="secrets: [TOKEN]\n")})
    number = add(server, repo)["pipelines"][0]["id"]
    headers = {"Content-Type": "application/json"}
    body = json.dumps({"value": _SECRET})
    server.request("PUT", f"/pipelines/{number}/secrets/TOKEN", body, headers)
    for name, role in (("root", "admin"), ("anna", "builder"), ("bert", "builder"), ("vera", "viewer")):
        add_user(server, name, role)
    tokens = {name: token_of(server, name) for name in ("root", "anna", "bert", "vera")}
    work = clone_of(repo, tmp_path / "work")
    (work.path / "mine").write_text("mine\n")
    (work.path / "large").write_bytes(os.urandom(3 * 1024**2))

    done = run(server, work.path, RAPIDFLOW_TOKEN=tokens["vera"])
    assert done.returncode == 2
    assert "only builders and admins can do this; your role is viewer" in done.stderr
    assert run(server, work.path).returncode == 2
    done = run(server, work.path, RAPIDFLOW_TOKEN=tokens["anna"])
    assert done.returncode == 0 and "mine\n" in done.stdout

    commit, data = pack(tmp_path / "tree", {".rapidflow.yml": definition(steps="echo by hand")})
    answer = upload(server, number, commit, data, as_(tokens["anna"]))
    assert answer.status == 201
    assert upload(server, number, commit, data, as_(tokens["vera"])).status == 403
    assert upload(server, number, commit, data).status == 401
    # What somebody uploaded is nobody else's to start, not even an administrator's.
    for name in ("bert", "root"):
        refused = start(server, number, answer.json["id"], as_(tokens[name]))
        assert refused.status == 422 and "you have no upload" in refused.json["error"]
    assert start(server, number, answer.json["id"], as_(tokens["vera"])).status == 403

    hidden = json.dumps({"restricted": True, "users": ["bert"]})
    path = f"/pipelines/{number}/visibility"
    assert server.request("PUT", path, hidden, {**headers, **as_(tokens["root"])}).status == 200
    done = run(server, work.path, RAPIDFLOW_TOKEN=tokens["anna"])
    assert done.returncode == 2 and "none that you may see" in done.stderr
    assert upload(server, number, commit, data, as_(tokens["anna"])).status == 404
    assert start(server, number, answer.json["id"], as_(tokens["anna"])).status == 404
    assert run(server, work.path, RAPIDFLOW_TOKEN=tokens["bert"]).returncode == 0


def test_a_tree_that_is_too_large_is_refused_with_what_to_do(
    new_server: Callable[..., Server], repo: Repo, tmp_path: Path
) -> None:
    server = new_server(executor="process", upload_limit="1m").start()
    repo.commit({".rapidflow.yml": definition()})
    add(server, repo)
    work = clone_of(repo, tmp_path / "work")
    # So much that the server hangs up before it has all of it, and little more than is taken.
    for size in (60, 2):
        (work.path / "large").write_bytes(os.urandom(size * 1024**2))
        done = run(server, work.path)
        assert done.returncode == 2
        assert "has more than 1 MiB when it is packed; leave files out by .gitignore" in done.stderr
    assert kept(server) == []


def test_it_is_built_in_a_container_with_its_submodules_and_modes(
    new_server: Callable[..., Server], repo: Repo, tmp_path: Path
) -> None:
    server = new_server().start()
    library = Repo(repo.path.with_name(f"{repo.path.name}-library"))
    library.commit({"version": "1\n"})
    repo.commit({".rapidflow.yml": definition(steps="cat lib/version; ./script.sh; readlink link")})
    repo.git("submodule", "--quiet", "add", library.url, "lib")
    repo.commit({})
    add(server, repo)
    work = clone_of(repo, tmp_path / "work")
    work.git("submodule", "--quiet", "update", "--init")
    (work.path / "lib" / "version").write_text("2\n")
    (work.path / "script.sh").write_text("#!/bin/sh\necho ran\n")
    (work.path / "script.sh").chmod(0o755)
    (work.path / "link").symlink_to("/nowhere")
    done = run(server, work.path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\n2\nran\n/nowhere\n" in done.stdout
    # One that is not initialised is fetched by the server, as what nobody vouches for: not from its disk.
    work.git("submodule", "--quiet", "deinit", "--force", "lib")
    done = run(server, work.path)
    assert done.returncode == 1 and "the submodule 'lib' is not initialised" in done.stderr
    assert "the submodule 'lib': could not fetch the source: a working tree" in done.stdout
