"""Webhooks of all forges, over HTTP: what each delivery is answered, and what it comes to."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.deliveries import FORGES, ZERO, Hook, headers_of, outcomes, push_body
from tests.support.git_server import GitServer, git_server
from tests.support.payloads import payload
from tests.support.repos import Repo
from tests.support.repositories import add, definition, events, handled, put
from tests.support.server import Server, wait_for

_LIMIT = 300 * 1024
_HIDDEN = "(not kept)"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, repos: Path) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("webhooks")
    made = Server(
        folder / "data", executor="process", file_roots=str(repos), grace="1s", concurrency="4",
        hook_body_limit=f"{_LIMIT}",
    ).start()  # fmt: skip
    yield made
    made.stop()


@pytest.fixture
def added(server: Server, repo: Repo) -> dict[str, Any]:
    repo.commit({".rapidflow.yml": definition(on="[push, tag, pull_request]")})
    return add(server, repo)


@pytest.fixture
def hook(server: Server, added: dict[str, Any]) -> Hook:
    return Hook(server, added)


@pytest.mark.parametrize("forge", FORGES)
def test_a_push_that_a_forge_tells_of_is_built_once(
    server: Server, repo: Repo, added: dict[str, Any], hook: Hook, forge: str
) -> None:
    commit = repo.commit({"a": forge}, f"From {forge}")
    body = push_body(forge, "refs/heads/main", None, commit)
    answer = hook.send(forge, body, identifier="one")
    assert (answer.status, set(answer.json)) == (202, {"delivery"}), answer.text
    again = hook.send(forge, body, identifier="one")
    assert (again.status, again.json["delivery"]) == (200, answer.json["delivery"])
    assert "duplicate of delivery" in again.json["reason"]
    handled(server, answer.json["delivery"])
    (event,) = events(server, added["id"])
    assert (event["source"], event["after"], event["title"]) == ("webhook", commit, f"From {forge}")
    (decision,) = event["decisions"]
    assert server.wait_finished(decision["job_id"])["job"]["status"] == "success"
    assert len(server.get(f"/repositories/{added['id']}/deliveries").json) == 1


@pytest.mark.parametrize("forge", FORGES)
def test_a_wrong_signature_is_refused_and_its_body_not_kept(
    server: Server, repo: Repo, added: dict[str, Any], hook: Hook, forge: str
) -> None:
    commit = repo.commit({"a": "b"})
    body = push_body(forge, "refs/heads/main", None, commit)
    wrong = hook.send(forge, body, identifier="one", secret="f" * 32)
    assert wrong.status == 401 and ("signature" in wrong.text or "token" in wrong.text)
    (kept,) = server.get(f"/repositories/{added['id']}/deliveries").json
    details = server.get(f"/deliveries/{kept['id']}").json
    assert details["body"] is None and details["events"] == []
    replayed = server.post(f"/deliveries/{kept['id']}/replay")
    assert replayed.status == 400 and "wrong signature" in replayed.json["error"]
    # The same id was not used up.
    assert hook.send(forge, body, identifier="one").status == 202


def test_the_secrets_in_headers_are_not_kept(server: Server, repo: Repo, hook: Hook) -> None:
    body = json.dumps(push_body("gitlab", "refs/heads/main", None, repo.commit({"a": "b"}))).encode()
    headers = headers_of("gitlab", body, hook.secret, "one") | {
        "Authorization": "Bearer hunter2-hunter2", "Cookie": "session=hunter2", "X-Other": "kept",
    }  # fmt: skip
    answer = server.request("POST", hook.path, body, headers)
    assert answer.status == 202
    text = server.get(f"/deliveries/{answer.json['delivery']}").text
    assert hook.secret not in text and "hunter2" not in text and text.count(_HIDDEN) == 3
    kept = {name.lower(): value for name, value in json.loads(text)["headers"]}
    assert kept["x-other"] == "kept" and kept["x-gitlab-token"] == _HIDDEN


def test_what_is_no_delivery_is_told_so(server: Server, hook: Hook) -> None:
    missing = server.request("POST", "/hooks/nobody", b"{}")
    assert missing.status == 404 and "no webhook" in missing.json["error"]
    unsigned = server.request("POST", hook.path, b"{}", {"Content-Type": "application/json"})
    assert unsigned.status == 401 and "missing" in unsigned.json["error"]
    # Signed, but nothing that a forge sends.
    for text in (b"{", b"[]", b"\xff\xfe", b'{"ref": 7, "after": null}', b"[" * 100_000, b'{"a": 1e999999}'):
        broken = hook.send("github", text)
        assert broken.status == 400 and broken.json["error"], (text[:20], broken.text)
    assert server.request("GET", hook.path).status == 405


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_is_refused(server: Server, hook: Hook, chunked: bool) -> None:
    fits = json.dumps({"zen": "x" * (_LIMIT - 100)}).encode()
    assert hook.send("github", fits, event="ping").status == 200
    body = b" " * (_LIMIT + 1)
    headers = headers_of("github", body, hook.secret, "large")
    if chunked:
        sent: Any = iter([body[:_LIMIT], body[_LIMIT:]])
        answer = server.request("POST", hook.path, sent, headers)
    else:
        answer = server.request("POST", hook.path, body, headers)
    assert answer.status == 413 and answer.json["error"]


@pytest.mark.parametrize("event", ["ping", "star"])
def test_what_builds_nothing_is_taken_with_a_reason(hook: Hook, event: str) -> None:
    answer = hook.send("github", payload("octokit/ping"), event=event)
    assert answer.status == 200 and answer.json["reason"], answer.text


def test_the_outcome_of_a_delivery_names_an_action_that_starts_nothing(
    server: Server, repo: Repo, hook: Hook
) -> None:
    commit = repo.git("rev-parse", "HEAD")
    repo.git("update-ref", "refs/pull/1/head", commit)
    answer = hook.pull_request(commit, action="labeled")
    assert answer.status == 202
    handled(server, answer.json["delivery"])
    outcome = server.get(f"/deliveries/{answer.json['delivery']}").json["outcome"]
    assert outcome == "no pipeline is started by the action 'labeled'"


def test_a_commit_that_is_not_there_fails_with_a_sentence(
    server: Server, added: dict[str, Any], hook: Hook
) -> None:
    gone = "1234567890" * 4
    answer = hook.push("github", gone)
    assert answer.status == 202
    handled(server, answer.json["delivery"])
    (event,) = events(server, added["id"])
    assert outcomes(event) == [("failed", f"the repository has no commit {gone[:12]}")]
    # It is no value of the branch, so the push that brings something is built.
    assert event["after"] == gone


def test_a_secret_that_was_replaced_counts_for_a_day(
    server: Server, repo: Repo, added: dict[str, Any], hook: Hook
) -> None:
    old = hook.secret
    new = server.post(f"/repositories/{added['id']}/secret").json["hook_secret"]
    assert new != old and len(new) >= 32
    for secret, status in ((old, 202), (new, 202), ("f" * 32, 401)):
        body = push_body("github", "refs/heads/main", None, repo.commit({"a": secret}))
        assert hook.send("github", body, secret=secret).status == status
    newest = server.post(f"/repositories/{added['id']}/secret").json["hook_secret"]
    body = push_body("github", "refs/heads/main", None, repo.commit({"a": "later"}))
    assert hook.send("github", body, secret=old).status == 401
    assert hook.send("github", body, secret=new).status == 202
    server.stop()
    server.sql("UPDATE repository SET old_secret_until = 1 WHERE id = ?", added["id"])
    server.start()
    body = push_body("github", "refs/heads/main", None, repo.commit({"a": "after a day"}))
    assert hook.send("github", body, secret=new).status == 401
    assert hook.send("github", body, secret=newest).status == 202


def test_a_replay_is_judged_anew_and_a_dry_run_changes_nothing(
    server: Server, repo: Repo, added: dict[str, Any], hook: Hook
) -> None:
    commit = repo.commit({"a": "b"})
    sent = hook.push("gitea", commit).json["delivery"]
    handled(server, sent)
    dry = server.post(f"/deliveries/{sent}/replay?dry_run=true")
    assert dry.status == 200 and dry.json["delivery"] is None
    ((outcome, _),) = outcomes(dry.json["events"][0])
    assert outcome == "built"
    assert len(events(server, added["id"])) == 1
    again = server.post(f"/deliveries/{sent}/replay")
    assert again.status == 202 and again.json["delivery"] != sent
    handled(server, again.json["delivery"])
    newest, first = events(server, added["id"])
    assert newest["after"] == first["after"] == commit
    jobs = {one["decisions"][0]["job_id"] for one in (newest, first)}
    assert len(jobs) == 2
    assert server.get(f"/deliveries/{again.json['delivery']}").json["events"][0]["id"] == newest["id"]
    # Where the definition has changed meanwhile, what is built is that of the commit.
    assert server.post("/deliveries/999999/replay").status == 404


def test_tags_and_deleted_branches_are_events(
    server: Server, repo: Repo, added: dict[str, Any], hook: Hook
) -> None:
    repo.git("branch", "other")
    value = repo.git("rev-parse", "other")
    repo.git("tag", "-a", "v1", "-m", "one")
    for body in (
        push_body("github", "refs/heads/other", None, value),
        push_body("github", "refs/tags/v1", None, repo.git("rev-parse", "v1"))
        | {"head_commit": {"id": value}},
        push_body("github", "refs/heads/other", value, ZERO) | {"deleted": True, "head_commit": None},
    ):
        answer = hook.send("github", body)
        assert answer.status == 202, answer.text
        handled(server, answer.json["delivery"])
    found = events(server, added["id"])
    assert [(one["kind"], one["ref"], one["after"]) for one in reversed(found)] == [
        ("push", "refs/heads/other", value),
        ("tag", "refs/tags/v1", value),
        ("delete", "refs/heads/other", None),
    ]


def test_the_id_of_a_delivery_counts_for_its_repository_alone(
    server: Server, repos: Path, repo: Repo, hook: Hook
) -> None:
    other = Repo(repos / f"{repo.path.name}-other")
    other.commit({".rapidflow.yml": definition()})
    second = Hook(server, add(server, other))
    for one, where in ((hook, repo), (second, other)):
        body = push_body("github", "refs/heads/main", None, where.commit({"a": "b"}))
        assert one.send("github", body, identifier="same").status == 202


_TELL_REFS = """#!/bin/sh
exec curl --silent --show-error --fail --data-binary @- -H 'Content-Type: text/plain' {url}
"""
_TELL_SIGNED = """#!/bin/sh
while read old new ref; do
  data=$(printf '{{"ref": "%s", "before": "%s", "after": "%s"}}' "$ref" "$old" "$new")
  body='{{"type": "push", "data": '"$data"'}}'
  id=msg_$new; now=$(date +%s)
  sign=$(printf '%s.%s.%s' "$id" "$now" "$body" | openssl dgst -sha256 -hmac {secret} -binary | base64)
  curl --silent --show-error --fail -H "webhook-id: $id" -H "webhook-timestamp: $now" \\
    -H "webhook-signature: v1,$sign" -H 'Content-Type: application/json' -d "$body" {url}
done
"""


@pytest.fixture
def git(repos: Path, tmp_path: Path) -> Iterator[GitServer]:
    folder = tmp_path / "served"
    folder.mkdir()
    with git_server(folder) as made:
        yield made


@pytest.mark.parametrize("way", ["refs", "signed"])
def test_a_real_push_to_a_git_server_builds(
    new_server: Callable[..., Server],
    git: GitServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    way: str,
) -> None:
    # The certificate of the git server is one that nobody knows.
    monkeypatch.setenv("GIT_SSL_NO_VERIFY", "1")
    server = new_server(executor="process", source_hosts="127.0.0.1").start()
    bare = git.root / "project.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(bare)], check=True)
    subprocess.run(["git", "-C", str(bare), "config", "http.receivepack", "true"], check=True)
    work = Repo(tmp_path / "work")
    work.commit({".rapidflow.yml": definition(steps="echo from $RAPIDFLOW_TITLE")})
    work.git("remote", "add", "origin", git.url("project.git"))
    work.git("push", "-q", "origin", "main")
    answer = server.post("/repositories", {"url": git.url("project.git")})
    assert answer.status == 201, answer.text
    added = answer.json
    put(server, added["id"], poll="off")
    script = bare / "hooks" / "post-receive"
    script.parent.mkdir(exist_ok=True)
    if way == "refs":
        script.write_text(_TELL_REFS.format(url=shlex.quote(f"{server.url}/repositories/{added['id']}/refs")))
    else:
        script.write_text(_TELL_SIGNED.format(url=added["hook_url"], secret=added["hook_secret"]))
    script.chmod(0o755)
    commit = work.commit({"a": "b"}, "a real push")
    work.git("push", "-q", "origin", "main")
    wait_for(lambda: events(server, added["id"]), "the push is an event")
    (event,) = events(server, added["id"])
    assert event["after"] == commit and event["source"] == ("push" if way == "refs" else "webhook")
    details = server.wait_finished(event["decisions"][0]["job_id"])
    assert details["steps"][0]["output"] == "from a real push\n"
