"""Cached responses are what fresh ones would be, for everyone who gets them."""

from __future__ import annotations

import http.client
import json
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

import pytest

from tests.support.server import Answer, Server, wait_for
from tests.support.users import add_user, as_, session_of, token_of
from tests.support.world import World

PATHS = (
    "/jobs/{job}",
    "/jobs/{job}/details",
    "/jobs?limit=5",
    "/",
    "/ui/overview",
    "/ui/jobs/{job}",
    "/ui/pipelines/{pipeline}",
)
_NOW = re.compile(rb'data-now="([0-9]{13})"')


def _comparable(answer: Answer) -> tuple[int, bytes, dict[str, str]]:
    body = _NOW.sub(b"", answer.body)
    return answer.status, body, {name: said for name, said in answer.headers.items() if name != "date"}


def _from_cache(
    server: Server, path: str, headers: Mapping[str, str] | None = None, root: str = ""
) -> Answer:
    """The answer from the cache, once there is one. `root` is a token for the metrics."""

    def count() -> float:
        text = server.get("/metrics", as_(root) if root else None).text
        return float(re.findall(r"^rapidflow_cached_responses_total (\S+)$", text, re.M)[0])

    found: list[Answer] = []

    def is_cached() -> bool:
        before, answer = count(), server.get(path, headers)
        found.append(answer)
        return count() > before

    wait_for(is_cached, f"{path} comes from the cache")
    return found[-1]


def _user_of(page: Answer) -> list[tuple[str, str]]:
    """The user whose page it is, and the role."""
    return [
        (name, role)
        for role, name in re.findall(r'title="Your account: (\w+)"[^>]*><span>(\w+)</span>', page.text)
    ]


@pytest.mark.parametrize("path", PATHS)
def test_a_cached_response_equals_a_fresh_one(server: Server, succeeded: dict[str, Any], path: str) -> None:
    path = path.format(job=succeeded["job"]["id"], pipeline=succeeded["pipeline"]["id"])
    # A request for a part of it is never answered from the cache.
    fresh = server.get(path, {"Range": "pages=1"})
    assert _comparable(_from_cache(server, path)) == _comparable(fresh)


def test_a_cached_page_tells_the_time_at_which_it_is_sent(server: Server) -> None:
    sent = [int(_NOW.findall(server.get("/").body)[0]) for _ in range(3)]
    assert sent == sorted(set(sent))


def test_what_is_cached_changes_with_the_database(server: Server) -> None:
    pipeline = server.pipeline({"name": "changing lists", "steps": ["true"]})
    paths = ("/jobs?limit=1", f"/pipelines/{pipeline}/jobs", "/", "/ui/overview", f"/ui/pipelines/{pipeline}")
    for _ in range(3):
        for path in paths * 2:
            server.get(path)
        job = server.start_build(pipeline)
        for path in paths:
            text = server.get(path).text
            assert f'"id":{job},' in text or f'/ui/jobs/{job}"' in text, path
        server.wait_finished(job)
        assert server.get("/jobs?limit=1").json[0] == server.get(f"/jobs/{job}").json
        assert server.get("/jobs?limit=1").json[0]["status"] == "success"


def test_what_a_command_changes_beside_the_server_is_soon_seen(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process").start()
    pipeline = server.pipeline({"name": "seen", "steps": ["true"]})
    add_user(server, "root", "admin")
    path, root = f"/ui/pipelines/{pipeline}", as_(token_of(server, "root"))
    wait_for(lambda: server.get(path, root).status == 200, "the first user is known")
    add_user(server, "noticed", "viewer")
    wait_for(lambda: "noticed" in server.get(path, root).text, "the page has the new user")


def test_a_fragment_that_the_browser_has_is_not_sent_again(server: Server) -> None:
    sent = server.get("/ui/overview")
    has = {"If-None-Match": sent.headers["etag"]}
    for answer in (server.get("/ui/overview", has), _from_cache(server, "/ui/overview", has)):
        assert (answer.status, answer.body) == (304, b"")
        assert answer.headers["etag"] == sent.headers["etag"]
        assert answer.headers["cache-control"] == sent.headers["cache-control"]
    assert server.get("/ui/overview", {"If-None-Match": '"other"'}).body == sent.body


def _restrict(world: World, restricted: bool) -> None:
    body = {"restricted": restricted, "users": []}
    answer = world.ask("PUT", f"/pipelines/{world.pipeline}/visibility", "admin", body)
    assert answer.status == 200, answer.text


@pytest.mark.parametrize("path", ["/jobs?limit=100", "/", "/ui/overview"])
def test_nobody_gets_what_is_cached_for_those_who_see_more(world: World, path: str) -> None:
    _restrict(world, True)
    try:
        shown = (f'"id":{world.job},', f'/ui/jobs/{world.job}"')
        for _ in range(2):
            assert any(text in world.ask("GET", path, "admin").text for text in shown)
            for who in ("builder", "viewer"):
                assert not any(text in world.ask("GET", path, who).text for text in shown)
            assert world.ask("GET", path, None).status in (303, 401)
            assert world.ask("GET", path, "admin", Host="elsewhere.example").status == 403
    finally:
        _restrict(world, False)


@pytest.mark.parametrize("part", ["", "/details"])
def test_a_finished_job_is_hidden_with_its_pipeline(world: World, part: str) -> None:
    path = f"/jobs/{world.job}{part}"
    assert all(world.ask("GET", path, "viewer").status == 200 for _ in range(2))
    _restrict(world, True)
    try:
        assert world.ask("GET", path, "viewer").status == 404
        assert world.ask("GET", path, "admin").status == 200
    finally:
        _restrict(world, False)


def test_pages_are_cached_for_each_user_and_role(world: World) -> None:
    given_away = token_of(world.server, "admin", "--role", "viewer")
    users = [(token, (role, role)) for role, token in world.tokens.items()]
    for _ in range(2):
        for token, (name, role) in [*users, (given_away, ("admin", "viewer"))]:
            page = _from_cache(world.server, "/", as_(token), world.tokens["admin"])
            assert _user_of(page) == [(name, role)]
            assert ("/ui/users" in page.text) is (role == "admin")
            assert ("New pipeline" in page.text) is (role == "admin")


def test_a_user_who_is_removed_gets_no_cached_page(world: World) -> None:
    add_user(world.server, "leaver", "viewer")
    token, session = token_of(world.server, "leaver"), {"Cookie": session_of(world.server, "leaver")}
    for headers in (as_(token), session):
        page = _from_cache(world.server, "/", headers, world.tokens["admin"])
        assert _user_of(page) == [("leaver", "viewer")]
    number = {one["name"]: one["id"] for one in world.ask("GET", "/users", "admin").json}["leaver"]
    assert world.ask("DELETE", f"/users/{number}", "admin").status == 200
    for headers in (as_(token), session):
        assert world.server.get("/", headers).status == 303
        assert world.server.get("/jobs?limit=5", headers).status == 401


def test_of_two_sessions_the_first_counts(world: World) -> None:
    cookies = {who: session_of(world.server, who) for who in ("admin", "viewer")}
    for first, second in (("admin", "viewer"), ("viewer", "admin")):
        both = {"Cookie": f"{cookies[first]}; {cookies[second]}"}
        for page in (
            world.server.get("/", both),
            _from_cache(world.server, "/", both, world.tokens["admin"]),
        ):
            assert _user_of(page) == [(first, first)]


def test_a_proxy_that_logs_users_in_gets_the_page_of_each(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process", login="proxy", proxy_header="Remote-User")
    server.set(proxy_addresses="127.0.0.1")
    server.start()
    server.command("user", "add", "boss", "--role", "admin", "--no-password")
    root = token_of(server, "boss")
    for _ in range(2):
        for name in ("boss", "anna"):
            page = _from_cache(server, "/", {"Remote-User": name}, root)
            assert _user_of(page) == [(name, "admin" if name == "boss" else "viewer")]
            assert ("New pipeline" in page.text) is (name == "boss")
    assert server.get("/").status == 303
    assert _with_headers(server, "/", ("Remote-User", "anna"), ("Remote-User", "boss"))[0] == 303


def _with_headers(server: Server, path: str, *headers: tuple[str, str]) -> tuple[int, str]:
    """The status and the text of the answer to a request that may have a header twice."""
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
        connection.putrequest("GET", path)
        for name, value in headers:
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def test_pages_are_cached_for_each_protocol(server: Server, succeeded: dict[str, Any]) -> None:
    job = succeeded["job"]["id"]
    name = "X-Forwarded-Proto"
    for _ in range(2):
        for protocol in ("https", "http"):
            page = _from_cache(server, f"/ui/jobs/{job}", {name: protocol}).text
            assert f"{protocol}://127.0.0.1:{server.port}/jobs/{job}/" in page
            other = "http" if protocol == "https" else "https"
            _, page = _with_headers(server, f"/ui/jobs/{job}", (name, protocol), (name, other))
            assert f"{protocol}://127.0.0.1:{server.port}/jobs/{job}/" in page


def test_what_is_not_cached_answers_while_the_database_is_locked(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process").start()
    paths = ("/static/css/base.css", "/health")
    assert all(server.get(path).status == 200 for path in paths)
    body = json.dumps({"name": "waits", "steps": ["true"]})
    # One after the other, they wait for the database for many seconds.
    writers = [
        threading.Thread(
            target=server.request, args=("POST", "/pipelines", body, {"Content-Type": "text/yaml"})
        )
        for _ in range(4)
    ]
    with closing(sqlite3.connect(server.data / "rapidflow.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for writer in writers:
            writer.start()
        time.sleep(1.5)  # changes by others are due to be asked for
        try:
            assert all(server.get(path).status == 200 for path in paths)
            waiting = [writer.is_alive() for writer in writers]
        finally:
            other.execute("ROLLBACK")
    for writer in writers:
        writer.join()
    assert any(waiting)


def test_a_page_without_the_log_is_not_cached(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process").start()
    job = server.run({"name": "logged", "steps": ["echo hello-$((1 + 1))"]})["job"]["id"]
    wait_for(lambda: "hello-2" in server.get(f"/ui/jobs/{job}").text, "the page has the log")
    server.stop()
    log = next((server.data / "logs").rglob(f"{job}.log"))
    away = log.rename(log.with_name("away"))
    server.start()
    for _ in range(3):
        assert "is missing" in server.get(f"/ui/jobs/{job}").text
    away.rename(log)
    wait_for(lambda: "hello-2" in server.get(f"/ui/jobs/{job}").text, "the page has the log again")


def test_pages_are_cached_for_each_name_of_the_server(server: Server, succeeded: dict[str, Any]) -> None:
    job = succeeded["job"]["id"]
    for _ in range(2):
        for host in (f"127.0.0.1:{server.port}", f"localhost:{server.port}"):
            assert f"http://{host}/jobs/{job}/" in server.get(f"/ui/jobs/{job}", {"Host": host}).text


def test_pages_are_cached_for_each_choice_of_favourites(server: Server) -> None:
    pipelines = [server.pipeline({"name": f"zz {number}", "steps": ["true"]}) for number in range(2)]
    for _ in range(2):
        for first in pipelines:
            rows = re.findall(
                r'<tr id="pipeline-(\d+)"', server.get("/", {"Cookie": f"rapidflow_favourites={first}"}).text
            )
            assert rows[0] == str(first)


def test_who_logs_out_gets_no_cached_page(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process").start()
    add_user(server, "root", "admin")
    wait_for(lambda: server.get("/").status == 303, "a login is needed")
    session = {"Cookie": session_of(server, "root")}
    assert all(server.get("/", session).status == 200 for _ in range(2))
    server.request("POST", "/logout", headers=session)
    assert server.get("/", session).status == 303
    assert server.get("/ui/overview", {**session, "HX-Request": "true"}).status == 401
