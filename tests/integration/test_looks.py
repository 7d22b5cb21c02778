"""Looks at the refs of repositories: which changes they find, and whom they let come in between."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rapidflow_web.triggers.handling import pause_after
from tests.support.deliveries import ZERO, Hook, push_body
from tests.support.git_server import git_server
from tests.support.repos import Repo
from tests.support.repositories import add, definition, events, handled, pushed
from tests.support.server import Server, wait_for


@pytest.fixture
def server(new_server: Callable[..., Server]) -> Server:
    return new_server(executor="process").start()


@pytest.mark.parametrize("told_by", ["poll", "github", "gitlab", "gitea"])
def test_pipelines_follow_the_default_branch_to_another(server: Server, repo: Repo, told_by: str) -> None:
    repo.commit({".rapidflow.yml": definition("old", on="tag")})
    repo.git("switch", "-q", "-c", "trunk")
    repo.git("rm", "-q", ".rapidflow.yml")
    repo.commit({".rapidflow/new.yml": definition("new", on="tag")})
    repo.git("branch", "other", "main")
    repo.git("switch", "-q", "main")
    added = add(server, repo)
    path = f"/repositories/{added['id']}"
    assert [one["name"] for one in added["pipelines"]] == ["old"]
    repo.git("symbolic-ref", "HEAD", "refs/heads/trunk")
    if told_by == "poll":
        assert server.post(f"{path}/poll").status == 200
    else:
        repo.git("branch", "-f", "other", "trunk")
        body = push_body(told_by, "refs/heads/other", None, repo.git("rev-parse", "other"))
        body["project" if told_by == "gitlab" else "repository"]["default_branch"] = "trunk"
        handled(server, Hook(server, added).send(told_by, body).json["delivery"])
    now = server.get(path).json
    assert now["default_branch"] == "trunk"
    assert [(one["name"], one["path"]) for one in now["pipelines"]] == [("new", ".rapidflow/new.yml")]
    assert all(event["ref"] == "refs/heads/other" for event in events(server, added["id"]))


def test_pipeline_whose_file_another_default_branch_renames_stays_the_same(
    server: Server, repo: Repo
) -> None:
    repo.commit({".rapidflow.yml": definition("ci", on="tag")})
    repo.git("switch", "-q", "-c", "trunk")
    repo.git("rm", "-q", ".rapidflow.yml")
    repo.commit({".rapidflow/main.yml": definition("ci", on="tag")})
    repo.git("switch", "-q", "main")
    added = add(server, repo)
    repo.git("symbolic-ref", "HEAD", "refs/heads/trunk")
    assert server.post(f"/repositories/{added['id']}/poll").status == 200
    (now,) = server.get(f"/repositories/{added['id']}").json["pipelines"]
    assert (now["id"], now["path"]) == (added["pipelines"][0]["id"], ".rapidflow/main.yml")


def test_long_look_asks_for_the_refs_once(
    new_server: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_SSL_NO_VERIFY", "1")
    (tmp_path / "git").mkdir()
    with git_server(tmp_path / "git") as git:
        repo = Repo(git.root / "many")
        repo.commit({".rapidflow.yml": definition(on="tag")})
        server = new_server(executor="process", source_hosts=git.host).start()
        answer = server.post("/repositories", {"url": git.url("many")})
        assert answer.status == 201, answer.text
        path = f"/repositories/{answer.json['id']}"

        def requests_for(branches: int, name: str) -> int:
            for number in range(branches):
                repo.git("branch", f"{name}/{number}")
            git.asked.clear()
            assert server.post(f"{path}/poll").status == 200
            return sum("/info/refs" in asked for asked, _ in git.asked)

        assert requests_for(0, "none") == 1
        # One more fetches what is new, which is the same commit here.
        assert requests_for(35, "many") == requests_for(1, "few") == 2
        server.stop()


def test_a_delivery_comes_in_between_the_branches_of_a_long_look(server: Server, repo: Repo) -> None:
    repo.commit({".rapidflow.yml": definition(on="tag")})
    added = add(server, repo)
    branches = 60
    for number in range(branches):
        repo.git("branch", f"new/{number:03}")
    number = added["id"]
    with ThreadPoolExecutor(1) as pool:
        look = pool.submit(server.post, f"/repositories/{number}/poll")
        wait_for(lambda: events(server, number), "the look has begun")
        repo.git("branch", "delivered")
        commit = repo.git("rev-parse", "delivered")
        pushed(server, number, f"{ZERO} {commit} refs/heads/delivered")
        assert not look.done()
        assert look.result().status == 200
    found = server.get(f"/repositories/{number}/events?limit=200").json
    # The delivery's own is there once, with those of the look around it.
    assert len(found) == branches + 1
    order = [event["ref"] for event in reversed(found)]
    assert 0 < order.index("refs/heads/delivered") < branches


def test_a_repository_that_can_not_be_reached_is_looked_at_ever_less_often() -> None:
    assert [pause_after(failures, 300) for failures in range(1, 6)] == [600, 1200, 2400, 3600, 3600]
    assert [pause_after(failures, 10) for failures in (1, 8, 9, 10, 10_000)] == [20, 2560, 3600, 3600, 3600]
    assert pause_after(1, 7200) == pause_after(10_000, 7200) == 7200
    assert pause_after(1, None) == 120
