"""Which pipelines a repository has, and what branches, tags and pull requests mean for them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.deliveries import Hook
from tests.support.repos import Repo
from tests.support.repositories import add, definition, events, handled, push
from tests.support.server import Server

PAYLOADS = Path(__file__).parents[1] / "payloads"


@pytest.fixture
def server(new_server: Callable[..., Server], repo: Repo) -> Server:
    return new_server(executor="process", file_roots=str(repo.path.parent)).start()


def paths(server: Server, repository_id: int) -> dict[str, str]:
    """The paths of the pipelines by name."""
    found = server.get(f"/repositories/{repository_id}").json["pipelines"]
    return {one["name"]: one["path"] for one in found}


def poll(server: Server, repository_id: int) -> None:
    answer = server.post(f"/repositories/{repository_id}/poll")
    assert answer.status == 200, answer.text


def test_tag_of_a_commit_with_another_definition_makes_no_pipeline(server: Server, repo: Repo) -> None:
    repo.commit({".rapidflow/a.yml": definition("a", on="[push, tag]")})
    added = add(server, repo)
    repo.git("switch", "-q", "--detach")
    repo.commit({".rapidflow/b.yml": definition("b", on="tag")})
    repo.git("tag", "v1")
    repo.git("switch", "-q", "main")
    poll(server, added["id"])
    (event,) = events(server, added["id"])
    assert [one["outcome"] for one in event["decisions"]] == ["built"]
    assert paths(server, added["id"]) == {"a": ".rapidflow/a.yml"}


def test_branch_that_was_reset_to_an_earlier_commit_is_built_once(server: Server, repo: Repo) -> None:
    first = repo.commit({".rapidflow.yml": definition()})
    repo.commit({"a": "b"})
    added = add(server, repo)
    repo.git("reset", "-q", "--hard", first)
    for _ in range(3):
        poll(server, added["id"])
    assert [event["after"] for event in events(server, added["id"])] == [first]


def test_branch_that_renames_a_file_leaves_the_pipeline_of_the_default_branch(
    server: Server, repo: Repo
) -> None:
    repo.commit({".rapidflow/a.yml": definition("a", steps="echo of main")})
    added = add(server, repo)
    repo.git("switch", "-q", "-c", "feature")
    repo.git("mv", ".rapidflow/a.yml", ".rapidflow/b.yml")
    repo.commit({".rapidflow/b.yml": definition("a", steps="echo of feature")})
    (decision,) = push(server, added["id"], repo, "refs/heads/feature")["decisions"]
    assert server.wait_finished(decision["job_id"])["steps"][0]["output"] == "of feature\n"
    assert paths(server, added["id"]) == {"a": ".rapidflow/a.yml"}
    assert "of main" in server.get(f"/pipelines/{decision['pipeline_id']}").json["config"]


def test_pipeline_of_the_default_branch_is_not_deleted_on_its_page(server: Server, repo: Repo) -> None:
    repo.commit({".rapidflow/a.yml": definition("a")})
    added = add(server, repo)
    pipeline = added["pipelines"][0]["id"]
    refused = server.request("POST", f"/ui/pipelines/{pipeline}/delete")
    assert refused.status == 409
    assert "is defined by .rapidflow/a.yml in its repository; remove the file there" in refused.text
    assert paths(server, added["id"]) == {"a": ".rapidflow/a.yml"}
    repo.git("mv", ".rapidflow/a.yml", ".rapidflow/b.yml")
    repo.commit({".rapidflow/b.yml": definition("b", on="tag")})
    push(server, added["id"], repo)
    assert server.get(f"/pipelines/{pipeline}").status == 404


def test_push_brings_back_a_pipeline_that_the_api_deleted(server: Server, repo: Repo) -> None:
    repo.commit({".rapidflow/a.yml": definition("a")})
    added = add(server, repo)
    assert server.request("DELETE", f"/pipelines/{added['pipelines'][0]['id']}").status == 200
    assert paths(server, added["id"]) == {}
    repo.commit({"a": "1"})
    push(server, added["id"], repo)
    assert paths(server, added["id"]) == {"a": ".rapidflow/a.yml"}


@pytest.mark.parametrize("way", ["page", "API"])
def test_pipeline_of_a_branch_that_is_gone_can_be_deleted(server: Server, repo: Repo, way: str) -> None:
    repo.commit({".rapidflow/a.yml": definition("a")})
    added = add(server, repo)
    repo.git("switch", "-q", "-c", "feature")
    repo.commit({".rapidflow/b.yml": definition("b")})
    decisions = push(server, added["id"], repo, "refs/heads/feature")["decisions"]
    new = next(one["pipeline_id"] for one in decisions if one["pipeline_id"] != added["pipelines"][0]["id"])
    repo.git("switch", "-q", "main")
    repo.git("branch", "-q", "-D", "feature")
    page = server.get(f"/ui/pipelines/{new}").text
    assert "A push of a branch with its file brings it back." in page
    if way == "page":
        assert server.request("POST", f"/ui/pipelines/{new}/delete").status == 303
    else:
        assert server.request("DELETE", f"/pipelines/{new}").status == 200
    assert paths(server, added["id"]) == {"a": ".rapidflow/a.yml"}


def test_new_pipeline_is_restricted_where_all_others_of_its_repository_are(
    server: Server, repo: Repo
) -> None:
    repo.commit({".rapidflow/a.yml": definition("a")})
    added = add(server, repo)
    body = json.dumps({"restricted": True, "users": []})
    path = f"/pipelines/{added['pipelines'][0]['id']}/visibility"
    assert server.request("PUT", path, body, {"Content-Type": "application/json"}).status == 200
    repo.commit({".rapidflow/b.yml": definition("b")})
    push(server, added["id"], repo)
    for one in server.get(f"/repositories/{added['id']}").json["pipelines"]:
        assert server.get(f"/pipelines/{one['id']}/visibility").json["restricted"], one


def test_file_with_the_wrong_ending_is_named(server: Server, repo: Repo) -> None:
    repo.commit({".rapidflow.yml": definition()})
    added = add(server, repo)
    repo.git("mv", ".rapidflow.yml", ".rapidflow.yaml")
    repo.commit({})
    (decision,) = push(server, added["id"], repo)["decisions"]
    reason = "a definition outside of .rapidflow/ must be named .rapidflow.yml"
    assert (decision["outcome"], decision["reason"]) == ("failed", f".rapidflow.yaml: {reason}")
    shown = server.get(f"/repositories/{added['id']}").json
    assert shown["problems"] == [{"path": ".rapidflow.yaml", "message": reason}]


def test_build_by_hand_says_what_is_wrong_with_all_definitions(server: Server, repo: Repo) -> None:
    repo.commit({".rapidflow/a.yml": definition("a")})
    added = add(server, repo)
    repo.commit({".rapidflow.yml": definition("b")})
    started = server.post(f"/pipelines/{added['pipelines'][0]['id']}/jobs")
    ended = server.wait_finished(started.json["id"])
    assert "there are both .rapidflow.yml and files in .rapidflow/" in ended["job"]["error"]


def test_pull_request_of_bitbucket_does_not_count_as_a_push_to_its_branch(server: Server, repo: Repo) -> None:
    repo.commit({".rapidflow.yml": definition(on="[push, pull_request]")})
    added = add(server, repo, forge="bitbucket")
    repo.git("switch", "-q", "-c", "feature")
    head = repo.commit({"a": "b"})
    push(server, added["id"], repo, "refs/heads/feature")
    hook = Hook(server, added)
    body = json.loads((PAYLOADS / "bitbucket-pull-request-created.json").read_text())
    pull = body["pullrequest"]
    pull["source"]["branch"]["name"], pull["destination"]["branch"]["name"] = "feature", "main"
    pull["source"]["commit"]["hash"] = head[:12]
    pull["source"]["repository"]["uuid"] = pull["destination"]["repository"]["uuid"]
    for event in ("pullrequest:created", "pullrequest:rejected"):
        handled(server, hook.send("bitbucket", body, event=event).json["delivery"])
    poll(server, added["id"])
    kinds = [event["kind"] for event in events(server, added["id"])]
    assert kinds == ["pull_request", "pull_request", "push"]
    (decision,) = events(server, added["id"])[1]["decisions"]
    assert decision["outcome"] == "built" and decision["job_id"] is not None
    # A fork's can't be fetched, and is not taken for the branch of the same name.
    pull["source"]["repository"]["uuid"], pull["id"] = "{another}", 2
    handled(server, hook.send("bitbucket", body, event="pullrequest:created").json["delivery"])
    (decision,) = events(server, added["id"])[0]["decisions"]
    assert decision["outcome"] == "ignored" and "Bitbucket has no refs of pull requests" in decision["reason"]
