"""Who may do what, over HTTP, on a real server: every route and method, with every role."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

from rapidflow_web.accounts.roles import Role
from rapidflow_web.web.route_roles import ROLES
from tests.support.server import Server
from tests.support.users import add_user, as_, token_of
from tests.support.world import JSON, World


def address(rule: str) -> str:
    """An address that the rule matches, of things that are not there."""
    rule = rule.replace("<path:filename>", "css/base.css")
    rule = re.sub(r"<any\((\w+)[^>]*>", r"\1", rule)
    return re.sub(r"<\w+>", "999999999", rule)


@pytest.mark.parametrize(("method", "rule"), sorted(ROLES))
def test_each_route_lets_in_those_who_have_its_role_and_nobody_else(
    world: World, method: str, rule: str
) -> None:
    needed = ROLES[method, rule]
    for who in (None, "viewer", "builder", "admin"):
        if method == "POST" and rule in ("/prune", "/ui/pipelines/check") and who == "admin":
            continue  # would do it
        answer = world.ask(method, address(rule), who)
        if needed is None or (who is not None and Role[who.upper()] >= needed):
            assert "; your role is " not in answer.text, who
            assert answer.status != 401 or rule == "/login", who
        elif who is None:
            is_page = method == "GET" and re.fullmatch(r"/(ui(/.*)?)?", rule) and "/log/" not in rule
            assert answer.status == (303 if is_page else 401)
            assert ("/login?next=" in answer.headers.get("location", "")) == bool(is_page)
        else:
            assert answer.status == 403
            verb = "open" if method == "GET" else "do"
            assert f"can {verb} this; your role is {who}" in answer.text
            assert f"only {needed.label}s" in answer.text.lower()


def test_what_is_not_known_is_said_as_each_client_reads_it(world: World) -> None:
    answer = world.ask("GET", "/jobs", None)
    assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.json["error"].startswith("log in at /login, or send a token: Authorization: Bearer TOKEN, ")
    assert "RAPIDFLOW_TOKEN" in answer.json["error"]
    stream = world.ask("GET", f"/jobs/{world.job}/logs/stream?follow=true", None)
    assert (stream.status, stream.headers["content-type"]) == (401, "text/plain; charset=utf-8")
    page = world.ask("GET", f"/ui/jobs/{world.job}?x=1", None)
    assert (page.status, page.headers["location"]) == (303, f"/login?next=%2Fui%2Fjobs%2F{world.job}%3Fx%3D1")
    data = world.ask("GET", f"/ui/jobs/{world.job}/log/map", None)
    assert (data.status, data.headers["content-type"]) == (401, "application/json")
    part = world.ask("GET", "/ui/overview", None, **{"HX-Request": "true"})
    assert (part.status, part.headers["hx-redirect"]) == (401, "/login")
    here = {"HX-Request": "true", "HX-Current-URL": "http://localhost/ui/jobs/1?log=build#step:1:2"}
    part = world.ask("GET", "/ui/jobs/1/state", None, **here)
    assert part.headers["hx-redirect"] == "/login?next=%2Fui%2Fjobs%2F1%3Flog%3Dbuild%23step%3A1%3A2"
    part = world.ask("GET", "/ui/overview", None, **{**here, "HX-Current-URL": "http://[x"})
    assert (part.status, part.headers["hx-redirect"]) == (401, "/login")
    for word in ("Bearer rapidflow_wrong", "Bearer ", "bearer \udcff".encode("utf-8", "surrogateescape")):
        refused = world.server.request("GET", "/jobs", None, {"Authorization": word})  # type: ignore[dict-item]
        assert refused.status == 401
        assert "token is not known" in refused.text


def test_streams_and_cached_responses_are_behind_the_same_gate(world: World) -> None:
    for path in (f"/jobs/{world.job}/details", f"/jobs/{world.job}/logs/stream", f"/jobs/{world.job}/logs"):
        for _ in range(3):  # the details are kept from the first answer on
            assert world.ask("GET", path, "viewer").status == 200
            assert world.ask("GET", path, None).status == 401
            assert world.server.get(path, as_("rapidflow_wrong")).status == 401


def test_a_restricted_pipeline_is_as_if_it_were_not_there(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process", grace="1s").start()
    hidden = server.pipeline({"name": "sesame", "steps": ["echo the sesame output"]})
    shown = server.pipeline({"name": "shown", "steps": ["echo shown"]})
    job = server.wait_finished(server.start_build(hidden))["job"]["id"]
    step = server.details(job)["steps"][0]["id"]
    other = server.wait_finished(server.start_build(shown))["job"]["id"]
    running = server.start_build(
        server.pipeline({"name": "sesame runs", "steps": ["echo up; exec sleep 1000"]})
    )
    runs_in = server.job(running)["pipeline_id"]
    server.wait_output(running, "up")
    for name, role in (("root", "admin"), ("anna", "builder"), ("bob", "builder")):
        add_user(server, name, role)
    root, anna, bob = (as_(token_of(server, name)) for name in ("root", "anna", "bob"))
    scoped = as_(token_of(server, "root", "--pipeline", str(shown)))
    assert server.get(f"/jobs/{job}/details", bob).status == 200
    for pipeline in (hidden, runs_in):
        body = json.dumps({"restricted": True, "users": ["anna"]})
        answer = server.request("PUT", f"/pipelines/{pipeline}/visibility", body, {**root, **JSON})
        assert answer.json == {"restricted": True, "users": ["anna"]}

    def status(method: str, path: str, who: dict[str, str]) -> int:
        return server.request(method, path, None, who).status

    one = [
        f"/pipelines/{hidden}", f"/pipelines/{hidden}/jobs", f"/jobs/{job}", f"/jobs/{job}/details",
        f"/jobs/{job}/logs", f"/jobs/{job}/logs/stream", f"/jobs/{job}/steps", f"/jobs/{job}/timeline",
        f"/jobs/{job}/activity", f"/steps/{step}", f"/steps/{step}/logs", f"/ui/jobs/{job}",
        f"/ui/jobs/{job}/state", f"/ui/jobs/{job}/log/map", f"/ui/jobs/{job}/log/times",
        f"/ui/jobs/{job}/log/search?q=sesame", f"/ui/jobs/{job}/log/outline", f"/ui/pipelines/{hidden}",
    ]  # fmt: skip
    for path in one:
        assert status("GET", path, anna) == status("GET", path, root) == 200, path
        assert status("GET", path, bob) == status("GET", path, scoped) == 404, path
    for path in (
        f"/pipelines/{hidden}/jobs", f"/jobs/{job}/retry", f"/jobs/{running}/cancel", f"/jobs/{job}/cancel",
        f"/ui/pipelines/{hidden}/jobs", f"/ui/jobs/{job}/retry", f"/ui/jobs/{running}/cancel",
    ):  # fmt: skip
        assert status("POST", path, bob) == 404, path
    assert server.get(f"/jobs/{running}", root).json["cancelled"] is False
    for path in ("/jobs", "/pipelines", "/", "/ui/overview"):
        assert "sesame" in server.get(path, anna).text or path == "/jobs"
        for who in (bob, scoped):
            text = server.get(path, who).text
            assert "sesame" not in text, path
            if path == "/jobs":
                assert [found["id"] for found in json.loads(text)] == [other]
            if path == "/pipelines":
                assert [found["id"] for found in json.loads(text)] == [shown]
    assert [found["id"] for found in server.get(f"/jobs?pipeline_id={hidden}", bob).json] == []
    assert status("POST", f"/jobs/{running}/cancel", anna) == 200
