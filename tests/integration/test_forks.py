"""Pull requests of forks: whatever they change, they get no secret, and wait for whoever looks at them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.deliveries import Hook, outcomes
from tests.support.git_server import git_server
from tests.support.receiver import receiving
from tests.support.repos import Repo
from tests.support.repositories import add, definition, events, handled, put
from tests.support.server import FINISHED, Answer, Server, wait_for

_SECRET = "correct-horse-battery"
_PULL = "refs/pull/1/head"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, repos: Path) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("forks")
    made = Server(
        folder / "data", executor="process", file_roots=str(repos), grace="1s", max_timeout="1h",
    ).start()  # fmt: skip
    secret(made, "EVERYWHERE")
    yield made
    made.stop()


def secret(server: Server, name: str, pipeline_id: int | None = None, value: str = _SECRET) -> None:
    path = f"/secrets/{name}" if pipeline_id is None else f"/pipelines/{pipeline_id}/secrets/{name}"
    answer = server.request("PUT", path, json.dumps({"value": value}), {"Content-Type": "application/json"})
    assert answer.status in (200, 201), answer.text


@pytest.fixture
def added(server: Server, repo: Repo) -> dict[str, Any]:
    repo.commit({".rapidflow.yml": definition(on="[push, pull_request]", more="secrets: [TOKEN]\n")})
    made = add(server, repo)
    secret(server, "TOKEN", made["pipelines"][0]["id"])
    return made


@pytest.fixture
def hook(server: Server, added: dict[str, Any]) -> Hook:
    return Hook(server, added)


def pull(repo: Repo, files: dict[str, str | bytes], message: str = "From a fork", ref: str = _PULL) -> str:
    """Has the head of a pull request be a commit that no branch has."""
    base = repo.git("rev-parse", "HEAD")
    commit = repo.commit(files, message)
    repo.git("update-ref", ref, commit)
    repo.git("reset", "-q", "--hard", base)
    return commit


def told(server: Server, added: dict[str, Any], answer: Answer) -> dict[str, Any]:
    """The event that a delivery led to, with its one decision."""
    assert answer.status == 202, answer.text
    handled(server, answer.json["delivery"])
    event = events(server, added["id"])[0]
    (event["decision"],) = event["decisions"]
    return event


def approved(server: Server, job_id: int, commit: str) -> dict[str, Any]:
    assert server.post(f"/jobs/{job_id}/approve", {"commit": commit}).status == 200
    return server.wait_finished(job_id)


def test_a_fork_waits_for_an_approval_and_gets_no_secret(
    server: Server, repo: Repo, added: dict[str, Any], hook: Hook
) -> None:
    steal = definition(on="[push, pull_request]", more="secrets: [TOKEN, EVERYWHERE]\n", steps="env | sort")
    commit = pull(repo, {".rapidflow.yml": steal})
    event = told(server, added, hook.pull_request(commit))
    decision = event["decision"]
    assert (event["kind"], event["ref"], event["after"]) == ("pull_request", _PULL, commit)
    assert decision["outcome"] == "waiting" and "comes from a fork" in decision["reason"]
    job = server.job(decision["job_id"])
    assert (job["status"], job["branch"], job["pull_request"]["fork"]) == ("pending", None, True)
    assert commit in job["waits_for"]
    # More slots would not help it.
    assert "rapidflow_queued_builds 0.0\n" in server.get("/metrics").text
    details = approved(server, decision["job_id"], commit)
    output = details["steps"][0]["output"]
    assert details["job"]["status"] == "success"
    assert _SECRET not in output and "TOKEN" not in output and "EVERYWHERE" not in output
    assert "RAPIDFLOW_BRANCH=\n" in output and "RAPIDFLOW_PULL_REQUEST=1\n" in output
    # Done again it is no more trusted, and is looked at again.
    again = server.post(f"/jobs/{decision['job_id']}/retry").json["id"]
    wait_for(lambda: "an approval" in (server.job(again)["waits_for"] or ""), "it waits")
    assert _SECRET not in json.dumps(approved(server, again, commit))


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ("repo_name: file:///etc\n", "repo_name"),
        ("timeout: 25h\n", "timeout"),
        ("new_privileges: true\n", "new_privileges"),
        ("expose_ports: true\n", "expose_ports"),
        ("network: host\n", "network"),
    ],
)
def test_a_fork_can_not_take_more_than_its_repository_may(
    server: Server, repo: Repo, added: dict[str, Any], hook: Hook, more: str, reason: str
) -> None:
    commit = pull(repo, {".rapidflow.yml": definition(on="[push, pull_request]", more=more)})
    ((outcome, said),) = outcomes(told(server, added, hook.pull_request(commit)))
    assert outcome == "failed" and reason in said and said.startswith(".rapidflow.yml: line ")
    assert server.get(f"/repositories/{added['id']}").json["problems"] == []
    assert "TOKEN" in server.get(f"/pipelines/{added['pipelines'][0]['id']}").json["config"]


def test_an_approval_is_of_one_commit(server: Server, repo: Repo, added: dict[str, Any], hook: Hook) -> None:
    first = pull(repo, {"a": "1"})
    waiting = told(server, added, hook.pull_request(first))["decision"]["job_id"]
    second = pull(repo, {"a": "2"})
    newer = told(server, added, hook.pull_request(second, action="synchronize"))["decision"]["job_id"]
    assert newer != waiting
    assert server.post(f"/jobs/{newer}/approve", {"commit": first}).status == 409
    assert server.post(f"/jobs/{waiting}/approve", {"commit": second}).status == 409
    approved(server, newer, second)
    assert server.job(waiting)["status"] == "pending"
    rejected = server.post(f"/jobs/{waiting}/reject", {"commit": first})
    assert rejected.status == 200
    assert server.wait_finished(waiting)["job"]["status"] == "cancelled"
    assert server.post(f"/jobs/{waiting}/approve", {"commit": first}).status == 409


def test_a_repository_may_build_all_forks_or_none(
    server: Server, repo: Repo, added: dict[str, Any], hook: Hook
) -> None:
    put(server, added["id"], forks="run")
    steal = definition(on="[pull_request]", more="secrets: [TOKEN]\n", steps="echo token=$TOKEN")
    commit = pull(repo, {".rapidflow.yml": steal})
    decision = told(server, added, hook.pull_request(commit))["decision"]
    assert decision["outcome"] == "built" and "no secrets" in decision["reason"]
    assert server.wait_finished(decision["job_id"])["steps"][0]["output"] == "token=\n"
    put(server, added["id"], forks="never")
    other = pull(repo, {"a": "2"})
    decision = told(server, added, hook.pull_request(other, action="synchronize"))["decision"]
    assert decision["outcome"] == "ignored" and "builds none of these" in decision["reason"]


def test_a_branch_of_the_repository_and_its_pull_request_are_one_build(
    server: Server, repo: Repo, added: dict[str, Any], hook: Hook
) -> None:
    repo.git("switch", "-q", "-c", "feature")
    commit = repo.commit({"a": "b"})
    repo.git("update-ref", _PULL, commit)
    repo.git("switch", "-q", "main")
    pushed = told(server, added, hook.push("github", commit, "refs/heads/feature"))["decision"]
    request = told(server, added, hook.pull_request(commit, fork=False))["decision"]
    assert request["outcome"] == "built" and request["job_id"] == pushed["job_id"]
    assert "same commit" in request["reason"]
    assert server.wait_finished(pushed["job_id"])["job"]["status"] == "success"


def test_what_a_delivery_says_does_not_make_a_fork_trusted(
    server: Server, repo: Repo, added: dict[str, Any], hook: Hook
) -> None:
    commit = pull(repo, {"a": "b"})
    # A push to a branch, and a pull request of the repository itself, whose commit no branch has.
    for answer in (hook.push("github", commit), hook.pull_request(commit, fork=False)):
        decision = told(server, added, answer)["decision"]
        assert decision["outcome"] == "waiting" and "no branch or tag" in decision["reason"]
    by_hand = server.start_build(added["pipelines"][0]["id"], commit=commit)
    wait_for(lambda: "approval" in (server.job(by_hand)["waits_for"] or ""), "it waits")
    jobs = [job for job in server.get("/jobs?limit=100").json if job["commit"] == commit]
    assert len(jobs) == 3 and all(job["status"] == "pending" for job in jobs)
    # Once a branch has it, who starts it again has it trusted.
    repo.git("update-ref", "refs/heads/taken", commit)
    server.post(f"/jobs/{by_hand}/cancel")
    server.wait_finished(by_hand)
    retried = server.post(f"/jobs/{by_hand}/retry").json["id"]
    assert server.wait_finished(retried)["job"]["status"] == "success"


def test_a_fork_has_a_concurrency_group_of_its_own_and_tells_nobody(
    server: Server, repo: Repo, added: dict[str, Any], hook: Hook
) -> None:
    more = "concurrency: {group: one, when_busy: cancel}\nnotify: [{webhook: TOKEN, when: always}]\n"
    text = definition(on="[push, pull_request]", more=more, steps="while [ ! -e go ]; do sleep 0.05; done")
    put(server, added["id"], forks="run")
    with receiving() as receiver:
        secret(server, "TOKEN", added["pipelines"][0]["id"], f"{receiver.url}/told")
        trusted = repo.commit({".rapidflow.yml": text})
        own = told(server, added, hook.push("github", trusted))["decision"]["job_id"]
        wait_for(lambda: server.job(own)["status"] == "running", "it runs")
        failing = text.replace("while [ ! -e go ]; do sleep 0.05; done", "exit 1")
        commit = pull(repo, {".rapidflow.yml": failing})
        fork = told(server, added, hook.pull_request(commit))["decision"]["job_id"]
        assert server.wait_finished(fork)["job"]["status"] == "failed"
        assert (server.job(own)["status"], server.job(own)["superseded_by"]) == ("running", None)
        server.post(f"/jobs/{own}/cancel")
        assert server.wait_finished(own)["job"]["status"] in FINISHED
        wait_for(lambda: receiver.received, "the end of the trusted build is told")
        assert [request.json["data"]["job"]["id"] for request in receiver.received] == [own]


def test_a_fork_makes_no_pipeline(server: Server, repo: Repo, added: dict[str, Any], hook: Hook) -> None:
    repo.git("mv", ".rapidflow.yml", "ci.yml")
    commit = pull(
        repo,
        {".rapidflow/new.yml": definition("new", on="pull_request"), ".rapidflow.yml": definition()},
    )
    told(server, added, hook.pull_request(commit))
    assert [one["name"] for one in server.get(f"/repositories/{added['id']}").json["pipelines"]] == ["ci"]


def test_a_fork_fetches_no_submodule_with_the_logins_of_the_server(
    new_server: Callable[..., Server], repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, served = tmp_path / "home", tmp_path / "served"
    home.mkdir()
    private = Repo(served / "private")
    private.commit({"file": "private"})
    monkeypatch.setenv("GIT_SSL_NO_VERIFY", "1")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("GIT_CONFIG_GLOBAL", raising=False)
    with git_server(served) as git:
        git.passwords["builds"] = "of-the-server"
        (home / ".gitconfig").write_text(f"[credential]\n\thelper = store --file={home}/logins\n")
        (home / "logins").write_text(f"https://builds:of-the-server@{git.host}\n")
        server = new_server(executor="process", source_hosts="127.0.0.1").start()
        repo.commit({".rapidflow.yml": definition(on="[push, pull_request]", steps="cat private/file")})
        added = add(server, repo)
        hook = Hook(server, added)
        put(server, added["id"], forks="run")
        (repo.path / "private").mkdir()
        head = private.git("rev-parse", "HEAD")
        repo.git("update-index", "--add", "--cacheinfo", f"160000,{head},private")
        modules = f'[submodule "private"]\n  path = private\n  url = {git.url("private")}\n'
        commit = pull(repo, {".gitmodules": modules})
        fork = told(server, added, hook.pull_request(commit))["decision"]["job_id"]
        job = server.wait_finished(fork)["job"]
        assert job["status"] == "failed" and "submodule" in job["error"]
        assert {login for _, login in git.asked} == {None}
        # What the repository itself has, may.
        repo.git("update-ref", "refs/heads/own", commit)
        own = told(server, added, hook.push("github", commit, "refs/heads/own"))["decision"]["job_id"]
        details = server.wait_finished(own)
        assert details["steps"][0]["output"] == "private", details


def test_the_head_of_a_pull_request_may_come_after_its_delivery(
    server: Server, repo: Repo, added: dict[str, Any], hook: Hook
) -> None:
    commit = pull(repo, {"a": "b"}, ref="refs/hidden/1")
    objects = repo.path / ".git" / "objects"
    file, away = objects / commit[:2] / commit[2:], repo.path.with_suffix(".away")
    repo.git("update-ref", "-d", "refs/hidden/1")
    file.rename(away)
    early = hook.pull_request(commit)
    assert early.status == 202
    # Others do not wait for it.
    told(server, added, hook.push("github", repo.commit({"c": "d"})))
    path = f"/deliveries/{early.json['delivery']}"
    wait_for(lambda: server.get(path).json["outcome"], "it is tried")
    assert server.get(path).json["outcome"].startswith("trying again: the repository has no commit")
    away.rename(file)
    repo.git("update-ref", _PULL, commit)
    assert told(server, added, early)["decision"]["outcome"] == "waiting"


def test_what_nobody_has_approved_ends_with_its_pull_request(
    server: Server, repo: Repo, added: dict[str, Any], hook: Hook
) -> None:
    first = pull(repo, {"a": "1"})
    waiting = [told(server, added, hook.pull_request(first))["decision"]["job_id"]]
    second = pull(repo, {"a": "2"})
    answer = hook.pull_request(second, action="synchronize")
    waiting.append(told(server, added, answer)["decision"]["job_id"])
    other = pull(repo, {"a": "3"}, ref="refs/pull/2/head")
    left = told(server, added, hook.pull_request(other, number=2))["decision"]["job_id"]
    handled(server, hook.pull_request(second, action="closed").json["delivery"])
    for job_id in waiting:
        assert server.wait_finished(job_id)["job"]["status"] == "cancelled"
    assert server.job(left)["status"] == "pending"
    again = told(server, added, hook.pull_request(second, action="reopened"))["decision"]
    assert again["outcome"] == "waiting"
    approved(server, again["job_id"], second)


def test_what_waits_for_an_approval_keeps_nobody_else_from_building(
    new_server: Callable[..., Server], repo: Repo
) -> None:
    roots = str(repo.path.parent)
    server = new_server(executor="process", file_roots=roots, waiting_builds="1").start()
    repo.commit({".rapidflow.yml": definition(on="[push, pull_request]")})
    added = add(server, repo)
    hook = Hook(server, added)
    for number in (1, 2):
        commit = pull(repo, {"a": str(number)}, ref=f"refs/pull/{number}/head")
        told(server, added, hook.pull_request(commit, number=number))
    job_id = server.start_build(added["pipelines"][0]["id"])
    assert server.wait_finished(job_id)["job"]["status"] == "success"
