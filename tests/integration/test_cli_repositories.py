"""The commands on repositories, against a real server."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import fork_server, payloads
from tests.support.repos import Repo
from tests.support.repositories import definition, events
from tests.support.server import Server, wait_for
from tests.support.users import add_user, token_of

_JSON = {"Content-Type": "application/json"}
Command = Callable[..., "subprocess.CompletedProcess[str]"]


def command(*arguments: str, stdin: bytes = b"", **settings: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("RAPIDFLOW_")}
    done = fork_server.run(*arguments, input=stdin, env={**kept, **settings}, timeout=60)
    assert b"Traceback" not in done.stderr, done.stderr
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.fixture
def server(new_server: Callable[..., Server], repo: Repo) -> Server:
    return new_server(executor="process", file_roots=str(repo.path.parent)).start()


@pytest.fixture
def rapidflow(server: Server) -> Command:
    def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return command(*arguments, RAPIDFLOW_URL=server.url, **settings)

    return run


def test_a_repository_is_added_with_what_was_found_and_what_is_next(
    server: Server, repo: Repo, rapidflow: Command
) -> None:
    repo.commit({".rapidflow/a.yml": definition("alpha"), ".rapidflow/b.yml": "name: b\nstep: []\n"})
    done = rapidflow("add", repo.url)
    assert done.returncode == 0, done.stderr
    added = server.get("/repositories/1").json
    assert done.stdout.splitlines()[:2] == [
        f"repository 1 added: {repo.url} (git, branch main)",
        f"  pipeline {added['pipelines'][0]['id']} 'alpha' of .rapidflow/a.yml",
    ]
    assert f"webhook {added['hook_url']}" in done.stdout
    assert re.search(r"secret  \S{32} \(shown only now\)", done.stdout)
    assert "Next: 'rapidflow connect 1'" in done.stdout.partition(added["hook_url"])[0]
    assert "problem: .rapidflow/b.yml: line 2" in done.stderr
    listed = rapidflow("repositories")
    assert repo.url in listed.stdout and "alpha" in listed.stdout
    assert "problem: .rapidflow/b.yml" in listed.stderr
    again = rapidflow("add", repo.url)
    assert again.returncode == 2 and "is there already, as repository 1" in again.stderr


def test_the_hook_that_connect_prints_builds_what_is_pushed(
    server: Server, repo: Repo, rapidflow: Command, tmp_path: Path
) -> None:
    repo.commit({".rapidflow.yml": definition()})
    done = rapidflow("connect", repo.url)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("repository 1 added")
    hook = repo.path / ".git/hooks/post-receive"
    hook.write_text(_script(done.stdout))
    hook.chmod(0o700)
    repo.git("config", "receive.denyCurrentBranch", "ignore")
    clone = tmp_path / "clone"
    repo.git("clone", "--quiet", str(repo.path), str(clone))
    work = Repo.__new__(Repo)
    work.path = clone
    commit = work.commit({"new": "file"}, "Pushed")
    pushed = subprocess.run(["git", "push", "--quiet"], cwd=clone, capture_output=True, text=True, check=True)
    assert [line.rstrip() for line in pushed.stderr.splitlines()] == [
        f"remote: RapidFlow: {server.url}/ui/repositories/1/events"
    ]
    wait_for(lambda: events(server, 1), "the push is judged")
    (decision,) = events(server, 1)[0]["decisions"]
    assert server.wait_finished(decision["job_id"])["job"]["commit"] == commit
    shown = rapidflow("events", repo.url).stdout
    assert f"push  refs/heads/main  {commit[:12]}  push  Pushed" in shown
    assert f"    ci: built: the push to 'main' fits 'on' (job {decision['job_id']})" in shown
    delivered = rapidflow("deliveries", "1").stdout.splitlines()[1]
    assert delivered.split()[0] == "1" and " 202 " in delivered


def _script(printed: str) -> str:
    """The hook in what `connect` printed."""
    script = re.search(r"^#!/bin/sh\n.*?^esac\n", printed, re.MULTILINE | re.DOTALL)
    assert script is not None
    return script[0]


def test_hook_that_the_server_refuses_says_why(
    server: Server, repo: Repo, rapidflow: Command, tmp_path: Path
) -> None:
    repo.commit({".rapidflow.yml": definition()})
    hook = tmp_path / "post-receive"
    hook.write_text(_script(rapidflow("connect", repo.url).stdout))
    add_user(server, "root", "admin")
    lines = f"{'0' * 40} {repo.git('rev-parse', 'HEAD').strip()} refs/heads/main\n"
    told = subprocess.run(["sh", str(hook)], input=lines, capture_output=True, text=True, check=False)
    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr.startswith('RapidFlow: {"error":"log in') and told.stderr.endswith(" 401\n")
    server.stop()
    told = subprocess.run(["sh", str(hook)], input=lines, capture_output=True, text=True, check=False)
    assert told.returncode == 7 and "curl: (7)" in told.stderr


def test_path_of_a_local_repository_is_answered_with_its_url(repo: Repo, rapidflow: Command) -> None:
    repo.commit({".rapidflow.yml": definition()})
    for command in ("add", "connect"):
        for path in (str(repo.path), os.path.relpath(repo.path)):
            done = rapidflow(command, path)
            assert (done.returncode, done.stderr) == (2, f"rapidflow: use {repo.path.as_uri()}\n")


def test_the_hook_names_a_token_where_there_are_users(server: Server, repo: Repo) -> None:
    repo.commit({".rapidflow.yml": definition()})
    add_user(server, "root", "admin")
    settings = {"RAPIDFLOW_URL": server.url, "RAPIDFLOW_TOKEN": token_of(server, "root")}
    done = command("connect", repo.url, **settings)
    assert "-H 'Authorization: Bearer TOKEN' " in done.stdout
    assert "rapidflow token add USER post-receive --role builder" in done.stdout


def test_a_token_is_taken_of_standard_input_and_of_the_environment_and_stored(
    server: Server, repo: Repo
) -> None:
    repo.commit({".rapidflow.yml": definition()})
    url = {"RAPIDFLOW_URL": server.url}
    assert command("add", repo.url, "--token", "-", stdin=b"two words\n", **url).returncode == 2
    done = command("add", repo.url, RAPIDFLOW_FORGE_TOKEN="two words", **url)
    assert (done.returncode, done.stdout) == (2, "")
    assert "a token is one word" in done.stderr
    assert command("add", repo.url, **url).returncode == 0
    (added,) = server.get("/repositories").json
    done = command("connect", str(added["id"]), "--forge", "gitea", "--token", "-", stdin=b"abc\n", **url)
    assert done.returncode == 2
    assert server.get(f"/repositories/{added['id']}").json["forge"] == "gitea"


def test_a_delivery_is_replayed_and_tried_dry(server: Server, repo: Repo, rapidflow: Command) -> None:
    repo.commit({".rapidflow.yml": definition(on="{push: {branches: [main]}}")})
    done = rapidflow("add", repo.url)
    commit = repo.commit({"a": "b"})
    hook = re.search(r"webhook (\S+)\n  secret  (\S+)", done.stdout)
    assert hook is not None
    body = json.dumps({"ref": "refs/heads/main", "after": commit, "before": None}).encode()
    headers = dict(payloads.headers_for("github", "push", body, hook[2]))
    answer = server.request("POST", hook[1].removeprefix(server.url), body, headers)
    assert answer.status == 202, answer.text
    wait_for(lambda: server.get("/deliveries/1").json["handled_at"], "it is handled")
    assert rapidflow("deliveries", "1").stdout.splitlines()[1].split()[-2:] == ["202", "handled"]
    dry = rapidflow("replay", "1", "--dry-run")
    assert dry.stdout.splitlines()[0] == f"push  refs/heads/main  {commit[:12]}"
    assert "built" in dry.stdout and len(server.get("/repositories/1/deliveries").json) == 1
    done = rapidflow("replay", "1")
    assert done.stdout.startswith("delivery 2 repeats delivery 1\n")
    assert f"push  refs/heads/main  {commit[:12]}\n" in done.stdout
    assert rapidflow("replay", "77").returncode == 2


def test_why_something_was_not_built_is_explained(server: Server, repo: Repo, rapidflow: Command) -> None:
    repo.commit({".rapidflow.yml": definition(on="{push: {branches: [release]}}")})
    assert rapidflow("add", repo.url).returncode == 0
    number = server.get("/repositories/1").json["pipelines"][0]["id"]
    for arguments in (("ci",), (str(number), "main"), ("ci", repo.git("rev-parse", "HEAD")[:9])):
        done = rapidflow("explain", *arguments)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("judged now  refs/heads/main  ")
        assert " ignored: " in done.stdout and "release" in done.stdout
    assert "no ref 'nothing'" in rapidflow("explain", "ci", "nothing").stderr
    repo.git("tag", "v1")
    assert " refs/tags/v1 " in rapidflow("explain", "ci", "v1").stdout
    repo.git("branch", "v1")
    assert " refs/heads/v1 " in rapidflow("explain", "ci", "v1").stdout
    repo.git("branch", "release")
    assert "  would be built: " in rapidflow("explain", "ci", "release").stdout
    assert "only heads of pushes are judged" in rapidflow("explain", "ci", "0123456").stderr
    server.pipeline({"name": "stored", "steps": ["true"]})
    assert "stands in no repository" in rapidflow("explain", "stored").stderr


def test_a_commit_of_a_fork_is_approved_or_rejected_by_its_job(
    server: Server, repo: Repo, rapidflow: Command
) -> None:
    repo.commit({".rapidflow.yml": definition()})
    assert rapidflow("add", repo.url).returncode == 0
    fork = repo.git("commit-tree", "-m", "From a fork", "HEAD^{tree}")
    repo.git("update-ref", "refs/pull/1/head", fork)
    number = server.get("/repositories/1").json["pipelines"][0]["id"]
    jobs = [server.post(f"/pipelines/{number}/jobs", {"commit": fork}).json["id"] for _ in range(2)]
    for job in jobs:
        wait_for(lambda job=job: "approval" in (server.job(job)["waits_for"] or ""), "it waits")
    wrong = rapidflow("approve", str(jobs[0]), "--commit", "1" * 40)
    assert wrong.returncode == 2 and f"waits for an approval of {fork}" in wrong.stderr
    approved = rapidflow("approve", str(jobs[0]), "--commit", fork[:10])
    assert approved.returncode == 0, approved.stderr
    assert f"commit {fork}" in approved.stderr and "From a fork (Test)" in approved.stderr
    assert server.wait_finished(jobs[0])["job"]["status"] == "success"
    assert rapidflow("reject", str(jobs[1])).stdout == f"job {jobs[1]} is rejected\n"
    assert server.job(jobs[1])["status"] == "cancelled"
    assert "does not wait for an approval" in rapidflow("reject", str(jobs[1])).stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("jobs",), "there are no jobs"),
        (("repositories",), "there are no repositories; 'rapidflow add URL' adds one"),
        (("secret", "list"), "there are no secrets"),
    ],
)
def test_empty_list_says_so(rapidflow: Command, arguments: tuple[str, ...], said: str) -> None:
    done = rapidflow(*arguments)
    assert (done.returncode, done.stderr) == (0, f"{said}\n")


def test_repository_without_events_or_deliveries_says_so(repo: Repo, rapidflow: Command) -> None:
    repo.commit({".rapidflow.yml": definition()})
    assert rapidflow("add", repo.url).returncode == 0
    assert rapidflow("events", "1").stderr == "there are no events\n"
    assert rapidflow("deliveries", "1").stderr == "there are no deliveries\n"


def test_poll_that_failed_is_repeated_when_the_server_starts(server: Server, repo: Repo) -> None:
    repo.commit({".rapidflow.yml": definition()})
    assert server.post("/repositories", {"url": repo.url}).status == 201
    away = repo.path.with_name("away")
    repo.path.rename(away)
    server.post("/repositories/1/poll")
    wait_for(lambda: server.get("/repositories/1").json["poll_error"], "the poll fails")
    server.stop()
    away.rename(repo.path)
    server.start()
    wait_for(lambda: not server.get("/repositories/1").json["poll_error"], "the poll is repeated")


def test_shared_secrets_that_are_not_granted_are_named_together(server: Server, repo: Repo) -> None:
    value = json.dumps({"value": "hunter22"})
    for name in ("ONE", "TWO"):
        assert server.request("PUT", f"/secrets/{name}", value, _JSON).status == 200
    repo.commit({".rapidflow.yml": definition(more="secrets: [TWO, ONE]\n")})
    added = server.post("/repositories", {"url": repo.url}).json
    job = server.post(f"/pipelines/{added['pipelines'][0]['id']}/jobs", {}).json["id"]
    assert server.wait_finished(job)["job"]["error"] == (
        "the shared secrets ONE, TWO are not granted to this repository; an administrator can grant them "
        "on the page of the repository"
    )
    for path in (f"/ui/jobs/{job}", f"/ui/pipelines/{added['pipelines'][0]['id']}"):
        page = server.get(path).text
        assert 'href="/ui/repositories/1#settings">Grant them on the page of the repository' in page
        # Nobody is asked for a second copy of them.
        assert 'name="secret:' not in page and "missing</strong>" not in page


def test_a_tag_and_a_commit_are_run(server: Server, repo: Repo, rapidflow: Command) -> None:
    steps = 'echo "tag=$RAPIDFLOW_TAG"'
    first = repo.commit({".rapidflow.yml": f"name: ci\nsteps:\n  - '{steps}'\n"})
    repo.git("tag", "v1")
    repo.commit({".rapidflow.yml": "name: ci\nsteps:\n  - 'false'\n"})
    assert rapidflow("add", repo.url).returncode == 0
    done = rapidflow("run", "ci", "--tag", "v1")
    assert done.returncode == 0 and "tag=v1" in done.stdout, done.stderr
    assert rapidflow("run", "ci", "--commit", first).returncode == 0
    short = rapidflow("run", "ci", "--commit", first[:12])
    assert (
        f"'{first[:12]}' is not the full hash of a commit; 'git rev-parse {first[:12]}' prints it"
        in short.stderr
    )
    assert rapidflow("run", "ci").returncode == 1
    tree = rapidflow("run", str(repo.path / ".rapidflow.yml"))
    assert tree.returncode == 1 and tree.stderr.startswith("the working tree is ")
    assert len(server.get("/pipelines").json) == 1


def test_validate_names_the_paths_that_a_delivery_must_change_to_build(tmp_path: Path) -> None:
    file, event = tmp_path / ".rapidflow.yml", tmp_path / "push.json"
    file.write_text(
        "on: {push: {paths: ['src/**', '!**/*.md']}, pull_request: {paths: docs/**}, tag: ['v*']}\n"
        "steps: ['true']\n"
    )
    for body, words in (
        ({"ref": "refs/heads/main"}, "refs/heads/main: would build if it changes [src/**, !**/*.md]\n"),
        ({"ref": "refs/tags/v1"}, "refs/tags/v1: would build\n"),
        (payloads.payload("gitlab-merge-request-opened"), ": would build if it changes [docs/**]\n"),
    ):
        event.write_text(json.dumps(body))
        assert command("validate", str(file), "--event", str(event)).stdout.endswith(words)


def test_validate_says_whether_a_delivery_would_build(tmp_path: Path) -> None:
    file, event = tmp_path / ".rapidflow.yml", tmp_path / "push.json"
    file.write_text("on: {push: {branches: [main]}, tag: ['v*']}\nsteps: ['true']\n")
    for body, words in (
        ({"ref": "refs/heads/main"}, "refs/heads/main: would build"),
        ({"ref": "refs/heads/topic"}, "refs/heads/topic: ignored: "),
        ({"ref": "refs/tags/v1"}, "refs/tags/v1: would build"),
        ({"ref": "refs/heads/main", "title": "x [skip ci]"}, "message has '[skip ci]'"),
        ({"ref": "refs/heads/main", "after": "0" * 40}, "what is deleted can't be built"),
        (payloads.payload("gitlab-merge-request-opened"), "ignored: "),
        (payloads.payload("octokit/ping"), "ignored: GitHub tested the webhook"),
    ):
        event.write_text(json.dumps(body))
        done = command("validate", str(file), "--event", str(event))
        assert done.returncode == 0, done.stderr
        assert f"{file}: 'rapidflow' is valid, 1 step\n" in done.stdout
        assert words in done.stdout, done.stdout
    event.write_text(json.dumps(payloads.payload("octokit/push-tag-created")))
    done = command("validate", str(file), "--event", str(event), "--header", "X-GitHub-Event: issues")
    assert "the GitHub event 'issues' starts no builds" in done.stdout
    event.write_text("{")
    done = command("validate", str(file), "--event", str(event))
    assert done.returncode == 2 and "not JSON" in done.stderr
    assert (
        "is not 'NAME: VALUE'"
        in command("validate", str(file), "--event", str(event), "--header", "x").stderr
    )
