"""Badges: public, always an image, never a redirect, and silent about what is restricted."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree import ElementTree

import pytest

from tests.support import gates
from tests.support.repos import Repo
from tests.support.server import Answer, Server
from tests.support.users import add_user, as_, token_of

TRUE = {"name": "one", "steps": ["true"]}


def shown(answer: Answer) -> str:
    """What a badge says."""
    assert (answer.status, answer.headers["content-type"]) == (200, "image/svg+xml; charset=utf-8")
    assert answer.headers["cache-control"] == "no-cache"
    picture = ElementTree.fromstring(answer.body)
    title = picture.findtext("{http://www.w3.org/2000/svg}title")
    assert title is not None and picture.get("aria-label") == title
    return title.removeprefix("build: ")


def test_a_badge_shows_how_the_newest_build_of_a_branch_ended(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process").start()
    pipeline = server.pipeline(TRUE)
    path = f"/pipelines/{pipeline}/badge.svg"
    assert shown(server.get(path)) == "unknown"
    server.wait_finished(server.start_build(pipeline))
    assert shown(server.get(path)) == "success"
    assert shown(server.get(f"{path}?branch=main&cachebuster=1&cachebuster=2")) == "unknown"
    failing = "name: one\nsteps: ['false']"
    server.request("PUT", f"/pipelines/{pipeline}", failing, {"Content-Type": "application/yaml"})
    server.wait_finished(server.start_build(pipeline))
    assert shown(server.get(path)) == "failed"
    server.request("DELETE", f"/pipelines/{pipeline}")
    assert shown(server.get(path)) == "unknown"


def test_a_badge_shows_the_newest_finished_build_of_its_branch(server: Server, repo: Repo) -> None:
    repo.commit({"a": "b"})
    repo.git("branch", "other")
    script = f'[ -z "$HOLD" ] || {{ echo holding; {gates.waiting()}; }}; test "$RAPIDFLOW_BRANCH" = main'
    pipeline = server.pipeline(
        {"name": "badge", "repo_name": repo.url, "branch": "main", "env": {"HOLD": ""}, "steps": [script]}
    )
    for branch in ("main", "other"):
        server.wait_finished(server.start_build(pipeline, branch=branch))

    def of(branch: str) -> str:
        return shown(server.get(f"/pipelines/{pipeline}/badge.svg?branch={branch}"))

    assert [of(branch) for branch in ("main", "other", "gone")] == ["success", "failed", "unknown"]
    held = server.start_build(pipeline, branch="main", environments={"HOLD": "1"})
    server.wait_output(held, "holding")
    assert of("main") == "success"
    gates.let_go(server, held)
    server.wait_finished(held)


@pytest.mark.parametrize(
    "path",
    [
        "999999999", "0", "-1", "x", "9" * 400, "%00", "%3Csvg%3E", "1?branch=%00", "1?branch=" + "b" * 5000,
        "1?branch=%3C/title%3E%3Cscript%3E", "1?branch=&branch=x&what=ever",
    ],
)  # fmt: skip
def test_whatever_is_asked_a_badge_is_an_image(server: Server, path: str) -> None:
    number, _, query = path.partition("?")
    answer = server.get(f"/pipelines/{number}/badge.svg?{query}")
    assert shown(answer)
    assert len(answer.body) < 1500


def test_a_badge_that_has_not_changed_is_not_sent_again(server: Server) -> None:
    first = server.get("/pipelines/999999999/badge.svg")
    again = server.get("/pipelines/999999999/badge.svg", {"If-None-Match": first.headers["etag"]})
    assert (again.status, again.body) == (304, b"")
    assert again.headers["cache-control"] == "no-cache"
    assert again.headers["etag"] == first.headers["etag"]


def test_a_badge_needs_no_login_and_tells_nothing_of_a_restricted_pipeline(
    new_server: Callable[..., Server],
) -> None:
    server = new_server(executor="process").start()
    pipeline = server.pipeline(TRUE)
    server.wait_finished(server.start_build(pipeline))
    add_user(server, "anna", "admin")
    path = f"/pipelines/{pipeline}/badge.svg"
    assert server.get(f"/pipelines/{pipeline}").status == 401
    answer = server.get(path)
    assert shown(answer) == "success"
    # Browsers let other sites show it.
    assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
    bearer = {**as_(token_of(server, "anna")), "Content-Type": "application/json"}
    body = '{"restricted": true, "users": []}'
    assert server.request("PUT", f"/pipelines/{pipeline}/visibility", body, bearer).status == 200
    assert shown(server.get(path)) == shown(server.get(path, bearer)) == "unknown"
