"""A push builds: definitions in repositories, refs that change, and why something was not built."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from tests.support.deliveries import ZERO
from tests.support.repos import Repo
from tests.support.repositories import add, definition, events, push, pushed, put
from tests.support.server import Server, wait_for
from tests.support.users import add_user, as_, token_of


@pytest.fixture
def server(new_server: Callable[..., Server], repo: Repo) -> Server:
    return new_server(executor="process", file_roots=str(repo.path.parent)).start()


def test_a_push_builds_the_definition_that_stands_in_the_commit(server: Server, repo: Repo) -> None:
    repo.commit({".rapidflow.yml": definition(steps="echo one")})
    added = add(server, repo)
    assert (added["forge"], added["default_branch"], added["connected"]) == ("git", "main", False)
    assert [(one["name"], one["path"]) for one in added["pipelines"]] == [("ci", ".rapidflow.yml")]
    assert added["problems"] == [] and len(added["hook_secret"]) >= 32
    assert server.get("/jobs").json == []
    commit = repo.commit(
        {".rapidflow.yml": definition(steps='echo "$RAPIDFLOW_EVENT $RAPIDFLOW_BRANCH"')}, "Second"
    )
    event = push(server, added["id"], repo)
    assert (event["kind"], event["ref"], event["after"]) == ("push", "refs/heads/main", commit)
    (decision,) = event["decisions"]
    assert decision["outcome"] == "built", decision
    details = server.wait_finished(decision["job_id"])
    job = details["job"]
    assert (job["status"], job["event"], job["ref"], job["commit"]) == (
        "success",
        "push",
        "refs/heads/main",
        commit,
    )
    assert (job["title"], job["author"], job["branch"]) == ("Second", "Test", "main")
    assert details["steps"][0]["output"] == "push main\n"


def test_the_same_value_of_a_ref_builds_once(server: Server, repo: Repo) -> None:
    repo.commit({".rapidflow.yml": definition()})
    added = add(server, repo)
    commit = repo.commit({"a": "b"})
    for _ in range(3):
        pushed(server, added["id"], f"{ZERO} {commit} refs/heads/main")
    server.post(f"/repositories/{added['id']}/poll")
    assert len(events(server, added["id"])) == 1
    assert len(server.get("/jobs").json) == 1


def test_what_no_delivery_tells_is_found_by_a_look(server: Server, repo: Repo) -> None:
    repo.commit({".rapidflow.yml": definition(on="[push, tag]")})
    added = add(server, repo)
    repo.git("branch", "other")
    repo.commit({"a": "b"})
    repo.git("tag", "-a", "v1", "-m", "one")
    assert server.post(f"/repositories/{added['id']}/poll").status == 200
    found = events(server, added["id"])
    assert [(one["kind"], one["ref"], one["source"]) for one in reversed(found)] == [
        ("push", "refs/heads/main", "poll"),
        ("push", "refs/heads/other", "poll"),
        ("tag", "refs/tags/v1", "poll"),
    ]
    jobs = {job["ref"]: job for job in server.get("/jobs").json}
    assert jobs["refs/tags/v1"]["branch"] is None
    repo.git("branch", "-D", "other")
    server.post(f"/repositories/{added['id']}/poll")
    assert events(server, added["id"])[0]["kind"] == "delete"


@pytest.mark.parametrize("options", [(), ("-a", "-m", "a key")])
def test_a_tag_of_a_file_is_told_once_and_builds_nothing(
    server: Server, repo: Repo, options: tuple[str, ...]
) -> None:
    repo.commit({".rapidflow.yml": definition(on="tag"), "key.asc": "one"})
    added = add(server, repo)
    repo.git("tag", *options, "key", "HEAD:key.asc")
    for _ in range(3):
        assert server.post(f"/repositories/{added['id']}/poll").json["poll_error"] is None
    (event,) = events(server, added["id"])
    (decision,) = event["decisions"]
    assert decision["outcome"] == "ignored"
    assert decision["reason"] == "refs/tags/key leads to a file or a folder, not to a commit"
    repo.git("tag", "--force", "key", "HEAD")
    server.post(f"/repositories/{added['id']}/poll")
    (decision,) = events(server, added["id"])[0]["decisions"]
    assert server.wait_finished(decision["job_id"])["job"]["status"] == "success"


def test_pipelines_follow_the_files_of_the_default_branch(server: Server, repo: Repo) -> None:
    repo.commit({".rapidflow/a.yml": definition("a"), ".rapidflow/b.yml": definition("b")})
    added = add(server, repo)
    ids = {one["name"]: one["id"] for one in added["pipelines"]}
    repo.git("mv", ".rapidflow/a.yml", ".rapidflow/renamed.yml")
    repo.git("rm", "-q", ".rapidflow/b.yml")
    repo.commit({".rapidflow/c.yml": definition("c"), ".rapidflow/d.yml": "name: d\nstepz: []\n"})
    push(server, added["id"], repo)
    now = server.get(f"/repositories/{added['id']}").json
    assert [(one["id"] == ids["a"], one["name"], one["path"]) for one in now["pipelines"]] == [
        (True, "a", ".rapidflow/renamed.yml"),
        (False, "c", ".rapidflow/c.yml"),
    ]
    (problem,) = now["problems"]
    assert problem["path"] == ".rapidflow/d.yml" and "line 2, column 1" in problem["message"]
    assert server.get(f"/pipelines/{ids['b']}").status == 404
    # A file that becomes invalid keeps its pipeline, and its decision says why it was not built.
    repo.commit({".rapidflow/c.yml": "name: c\non: push\nsteps: 1\n"})
    decisions = {one["outcome"]: one for one in push(server, added["id"], repo)["decisions"]}
    assert "line 3" in decisions["failed"]["reason"]
    assert len(server.get(f"/repositories/{added['id']}").json["pipelines"]) == 2


def test_a_branch_builds_with_its_own_definition(server: Server, repo: Repo) -> None:
    repo.commit({".rapidflow.yml": definition(steps="echo of main")})
    added = add(server, repo)
    repo.git("switch", "-q", "-c", "feature")
    repo.commit({".rapidflow.yml": definition(steps="echo of feature")})
    (decision,) = push(server, added["id"], repo, "refs/heads/feature")["decisions"]
    assert server.wait_finished(decision["job_id"])["steps"][0]["output"] == "of feature\n"
    assert "of main" in server.get(f"/pipelines/{added['pipelines'][0]['id']}").json["config"]


@pytest.mark.parametrize(
    ("on", "message", "reason"),
    [
        ("tag", "x", "'on' does not name push"),
        ("{push: {branches: [release/**]}}", "x", "the branch 'main' does not fit on.push.branches"),
        ("{push: {paths: [src/**]}}", "x", "on.push.paths"),
        ("push", "x [skip ci]", "[skip ci]"),
    ],
)
def test_what_is_not_built_says_why(server: Server, repo: Repo, on: str, message: str, reason: str) -> None:
    repo.commit({".rapidflow.yml": definition(on=on)})
    added = add(server, repo)
    repo.commit({"docs/a.md": "b"}, message)
    (decision,) = push(server, added["id"], repo)["decisions"]
    assert decision["outcome"] == "ignored" and reason in decision["reason"]
    assert decision["job_id"] is None
    (explained,) = server.get(f"/pipelines/{decision['pipeline_id']}/explain?ref=main").json
    assert explained["reason"] == decision["reason"] and explained["stored"]


def test_a_commit_of_no_branch_waits_for_an_approval(server: Server, repo: Repo) -> None:
    repo.commit({".rapidflow.yml": definition()})
    added = add(server, repo)
    base = repo.git("rev-parse", "HEAD")
    commit = repo.commit({"a": "b"})
    repo.git("update-ref", "refs/pull/1/head", commit)
    repo.git("reset", "-q", "--hard", base)
    started = server.post(f"/pipelines/{added['pipelines'][0]['id']}/jobs", {"commit": commit})
    assert started.status == 201
    wait_for(
        lambda: (server.job(started.json["id"])["waits_for"] or "").startswith("an approval"), "it waits"
    )
    path = f"/jobs/{started.json['id']}/approve"
    assert server.post(path, {"commit": base}).status == 409
    assert server.post(path, {"commit": commit}).status == 200
    assert server.wait_finished(started.json["id"])["job"]["status"] == "success"
    put(server, added["id"], forks="never")
    again = server.post(f"/jobs/{started.json['id']}/retry").json
    assert "builds none of these" in server.wait_finished(again["id"])["job"]["error"]


def test_a_build_by_hand_reads_the_definition_from_its_commit(server: Server, repo: Repo) -> None:
    repo.commit({".rapidflow.yml": definition(on="push", steps="echo $A")})
    added = add(server, repo)
    pipeline_id = added["pipelines"][0]["id"]
    repo.git("tag", "v1")
    started = server.post(f"/pipelines/{pipeline_id}/jobs", {"tag": "v1", "environments": {"A": "given"}})
    details = server.wait_finished(started.json["id"])
    assert details["steps"][0]["output"] == "given\n"
    assert (details["job"]["ref"], details["job"]["branch"]) == ("refs/tags/v1", None)
    missing = server.post(f"/pipelines/{pipeline_id}/jobs", {"branch": "gone"})
    assert server.wait_finished(missing.json["id"])["job"]["error"] == "the repository has no branch 'gone'"
    repo.commit({".rapidflow.yml": "name: ci\nsteps: 7\n"})
    invalid = server.post(f"/pipelines/{pipeline_id}/jobs")
    ended = server.wait_finished(invalid.json["id"])
    assert ended["job"]["error"].startswith(".rapidflow.yml: line 2, column ") and ended["steps"] == []
    assert f"=== Build failed: {ended['job']['error']} ===" in server.stream(invalid.json["id"])


def test_who_may_not_see_the_pipelines_of_a_repository_does_not_see_it(server: Server, repo: Repo) -> None:
    repo.commit({".rapidflow/a.yml": definition("a"), ".rapidflow/b.yml": definition("b")})
    added = add(server, repo)
    ids = {one["name"]: one["id"] for one in added["pipelines"]}
    add_user(server, "root", "admin")
    add_user(server, "vera", "viewer")
    root, viewer = as_(token_of(server, "root")), as_(token_of(server, "vera"))
    path = f"/repositories/{added['id']}"
    hide = {"Content-Type": "application/json", **root}
    for name, names in (("a", ["a", "b"]), ("b", ["b"])):
        assert [one["name"] for one in server.get(path, viewer).json["pipelines"]] == names
        answer = server.request(
            "PUT", f"/pipelines/{ids[name]}/visibility", '{"restricted": true, "users": []}', hide
        )
        assert answer.status == 200
    assert server.get(path, viewer).status == server.get(f"{path}/events", viewer).status == 404
    assert server.get("/repositories", viewer).json == []
    assert len(server.get(path, root).json["pipelines"]) == 2


def test_a_pipeline_that_is_stored_on_the_server_builds_no_commit_by_its_hash(
    server: Server, repo: Repo
) -> None:
    commit = repo.commit({"a": "b"})
    pipeline_id = server.pipeline({"name": "stored", "repo_name": repo.url, "steps": ["true"]})
    answer = server.post(f"/pipelines/{pipeline_id}/jobs", {"commit": commit})
    assert answer.status == 422 and "give a branch" in answer.json["error"]


def test_strangers_to_a_webhook_are_answered_before_their_body_is_read(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(b"POST /hooks/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20000000\r\n\r\n{")
        assert connection.recv(100).startswith(b"HTTP/1.1 404")


def test_a_tag_that_was_made_again_is_not_taken_away_by_a_late_delivery(server: Server, repo: Repo) -> None:
    first = repo.commit({".rapidflow.yml": definition(on="tag")})
    repository_id = add(server, repo)["id"]
    repo.git("tag", "v1")
    pushed(server, repository_id, f"{ZERO} {first} refs/tags/v1")
    second = repo.commit({"a": "b"})
    repo.git("tag", "--force", "v1")
    pushed(server, repository_id, f"{ZERO} {second} refs/tags/v1")
    late = pushed(server, repository_id, f"{first} {ZERO} refs/tags/v1")
    assert server.get(f"/deliveries/{late}").json["outcome"] == "refs/tags/v1 has another value since"
    server.post(f"/repositories/{repository_id}/poll")
    built = [job["commit"] for job in server.get("/jobs").json]
    assert built == [second, first]
    # One that is taken away now is, and what is made again then is built.
    repo.git("tag", "-d", "v1")
    pushed(server, repository_id, f"{second} {ZERO} refs/tags/v1")
    repo.git("tag", "v1")
    pushed(server, repository_id, f"{ZERO} {second} refs/tags/v1")
    assert [job["commit"] for job in server.get("/jobs").json] == [second, second, first]
