"""Streams end with the access of whoever reads them, and nobody else's do; limited tokens stay limited."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.support.server import Answer, Follower, Server, wait_for
from tests.support.users import PASSWORD, add_user, as_, session_of, token_of

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JSON = {"Content-Type": "application/json"}
NAMES = (("root", "admin"), ("anna", "builder"), ("vera", "viewer"), ("passing", "admin"))
_PASSING = "user_id = (SELECT id FROM user_account WHERE name = 'passing')"


class Followed:
    """A server with a build that prints what it is told and goes on, and users who can follow it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.followers: list[Follower] = []
        self._told = server.data.parent / "told"
        self._told.touch()
        self._lines = 0
        step = f"echo up; exec tail -n 0 -f '{self._told}'"
        self.pipeline = server.pipeline({"name": "long", "steps": [step]})
        self.job = server.start_build(self.pipeline)
        server.wait_output(self.job, "up")
        self.anyones = server.follow(self.job)
        self.followers.append(self.anyones)
        for name, role in NAMES:
            add_user(server, name, role)
        self.root = as_(token_of(server, "root"))
        self._passing = as_(token_of(server, "passing"))

    def follow(self, headers: dict[str, str]) -> Follower:
        follower = self.server.follow(self.job, "follow=true", headers)
        self.followers.append(follower)
        follower.wait_for(b"up\n")
        return follower

    def say(self) -> bytes:
        """Has the build print another line; returns it."""
        self._lines += 1
        line = f"line {self._lines};\n"
        with self._told.open("a") as file:
            file.write(line)
        return line.encode()

    def review(self) -> None:
        """Returns when all streams have been looked at: one, whose token expires unseen, has been cut."""
        passing = self.follow(self._passing)
        self.server.sql(f"UPDATE token SET expires_at = 1 WHERE {_PASSING}")
        cut(passing)
        self.server.sql(f"UPDATE token SET expires_at = NULL WHERE {_PASSING}")

    def goes_on(self, *followers: Follower) -> None:
        """A review of all streams leaves these as they are: they get what the build prints after it."""
        self.review()
        line = self.say()
        for follower in followers:
            follower.wait_for(line)
            assert follower.complete is None

    def as_root(self, method: str, path: str, body: Any = None) -> Answer:
        data = None if body is None else json.dumps(body)
        return self.server.request(method, path, data, {**self.root, **(JSON if data else {})})

    def session(self, name: str) -> dict[str, str]:
        return {"Cookie": session_of(self.server, name)}

    def id_of(self, name: str) -> int:
        return next(user["id"] for user in self.as_root("GET", "/users").json if user["name"] == name)


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Followed]:
    server = Server(tmp_path_factory.mktemp("followed") / "data", executor="process", grace="1s").start()
    made = Followed(server)
    yield made
    for follower in made.followers:
        follower.close()
    made.as_root("POST", f"/jobs/{made.job}/cancel")
    server.stop()


def cut(*followers: Follower) -> None:
    """Waits until these are cut, with no proper end."""
    for follower in followers:
        follower.wait(30)
        assert follower.complete is False


def test_streams_of_nobody_end_when_there_is_a_first_user(followed: Followed) -> None:
    cut(followed.anyones)


def test_a_logout_cuts_the_streams_of_that_session_alone(followed: Followed) -> None:
    here, there = followed.session("vera"), followed.session("vera")
    mine, other, hers = followed.follow(here), followed.follow(there), followed.follow(followed.root)
    followed.server.request("POST", "/logout", None, here)
    cut(mine)
    followed.goes_on(other, hers)
    # Nor does whoever ends sessions of their own cut those of others.
    anna = followed.follow(followed.session("anna"))
    followed.server.request("POST", "/ui/account/sessions", None, followed.session("vera"))
    cut(other)
    followed.goes_on(hers, anna)


def test_a_change_beside_the_server_cuts_the_streams_that_it_concerns(followed: Followed) -> None:
    add_user(followed.server, "otto", "viewer")
    his = followed.follow(followed.session("otto"))
    tokens = {name: as_(token_of(followed.server, name, "--days", "1")) for name in ("vera", "anna")}
    vera, anna = (followed.follow(tokens[name]) for name in ("vera", "anna"))
    listed = followed.server.command("token", "list").stdout.splitlines()
    number = next(line.split()[0] for line in listed if " vera " in line and "expires" in line)
    assert followed.server.command("token", "revoke", number).returncode == 0
    cut(vera)
    assert followed.server.command("user", "remove", "otto").returncode == 0
    cut(his)
    followed.goes_on(anna)
    # One that expires is as if it were revoked.
    followed.server.sql("UPDATE token SET expires_at = 1 WHERE expires_at IS NOT NULL")
    cut(anna)


def test_who_may_not_see_a_pipeline_any_more_reads_no_more_of_it(followed: Followed) -> None:
    vera, anna, root = (followed.follow(followed.session(name)) for name in ("vera", "anna", "root"))
    path = f"/pipelines/{followed.pipeline}/visibility"
    assert followed.as_root("PUT", path, {"restricted": True, "users": ["anna"]}).status == 200
    cut(vera)
    followed.goes_on(anna, root)
    # Administrators see everything, and when they are none any more, they do not.
    also = followed.as_root("POST", "/users", {"name": "also", "role": "admin", "password": PASSWORD}).json
    hers = followed.follow(followed.session("also"))
    assert followed.as_root("PUT", f"/users/{also['id']}", {"role": "viewer"}).status == 200
    cut(hers)
    assert followed.as_root("PUT", path, {"restricted": False}).status == 200
    followed.goes_on(anna, root)


# Requests whose body comes late


@pytest.mark.parametrize(
    ("path", "media_type", "body"),
    [
        ("/users", JSON, json.dumps({"name": "late", "role": "admin", "password": PASSWORD})),
        ("/ui/users", FORM, urlencode({"name": "late", "role": "admin", "password": PASSWORD})),
    ],
)
def test_a_body_that_comes_after_the_end_of_access_changes_nothing(
    followed: Followed, path: str, media_type: dict[str, str], body: str
) -> None:
    former = followed.as_root("POST", "/users", {"name": "former", "role": "admin", "password": PASSWORD})
    connection = http.client.HTTPConnection("127.0.0.1", followed.server.port, timeout=60)
    connection.putrequest("POST", path)
    for name, value in {**followed.session("former"), **media_type, "Content-Length": str(len(body))}.items():
        connection.putheader(name, value)
    connection.endheaders(body[:-1].encode())
    assert followed.as_root("GET", "/users").status == 200, "by now the request has been let in"
    assert followed.as_root("DELETE", f"/users/{former.json['id']}").status == 200
    connection.send(body[-1:].encode())
    answer = connection.getresponse()
    answer.read()
    connection.close()
    assert answer.status == 401
    assert "late" not in [user["name"] for user in followed.as_root("GET", "/users").json]


# Limited tokens


@pytest.mark.parametrize("limit", [("--role", "viewer"), ("--pipeline", "1")])
def test_a_limited_token_manages_no_token_but_itself(followed: Followed, limit: tuple[str, ...]) -> None:
    for name in ("anna", "root"):
        whole = as_(token_of(followed.server, name))
        limited = as_(token_of(followed.server, name, *limit))
        every = [token["id"] for token in followed.server.get("/tokens", whole).json]
        own = [token["id"] for token in followed.server.get("/tokens", limited).json]
        assert own == every[:1] and len(every) > 1
        page = followed.server.get("/ui/account", limited).text
        assert page.count("/revoke") == 1 and "Logged in" not in page
        for other in every[1:]:
            for method, path in (
                ("DELETE", f"/tokens/{other}"),
                ("POST", f"/ui/account/tokens/{other}/revoke"),
            ):
                assert followed.server.request(method, path, None, limited).status == 404
        for method, path, body in (
            ("POST", "/tokens", {"name": "more", "role": "viewer"}),
            ("PUT", "/me/password", {"password": PASSWORD, "new_password": "another password"}),
        ):
            answer = followed.server.request(method, path, json.dumps(body), {**limited, **JSON})
            assert answer.status == 403
        assert followed.server.request("POST", "/ui/account/sessions", None, limited).status == 403
        assert followed.server.request("DELETE", f"/tokens/{own[0]}", None, limited).status == 200
        assert followed.server.get("/me", limited).status == 401
        assert followed.server.get("/me", whole).status == 200


def test_a_limited_token_stays_limited_when_its_user_becomes_no_more_than_it(followed: Followed) -> None:
    demoted = followed.as_root("POST", "/users", {"name": "demoted", "role": "admin", "password": PASSWORD})
    limited = as_(token_of(followed.server, "demoted", "--role", "viewer"))
    whole = as_(token_of(followed.server, "demoted"))
    for role in ("viewer", "builder", "viewer"):
        path = f"/users/{demoted.json['id']}"
        assert followed.as_root("PUT", path, {"role": role}).status == 200
        # What was made to be given away is so still, and what was not is the user's own.
        assert len(followed.server.get("/tokens", limited).json) == 1
        assert len(followed.server.get("/tokens", whole).json) == 2
        assert followed.server.get("/me", whole).json["role"] == role


def test_a_token_is_limited_to_pipelines_by_their_names(followed: Followed) -> None:
    server = followed.server
    body = {"name": "twice", "config": "steps: ['true']"}
    twice = [followed.as_root("POST", "/pipelines", body).json["id"] for _ in range(2)]
    named = as_(token_of(server, "root", "--pipeline", "long", "--pipeline", str(twice[0])))
    assert server.get(f"/jobs/{followed.job}", named).status == 200
    assert [one["id"] for one in server.get("/pipelines", named).json] == [twice[0], followed.pipeline]
    for name, said in (
        ("no such", "there is no pipeline 'no such'"),
        ("999", "there is no pipeline 999"),
        ("9" * 30, f"there is no pipeline {'9' * 30}"),
        ("twice", f"there are several pipelines 'twice'; name one by its id: {twice[1]}, {twice[0]}"),
    ):
        done = server.command("token", "add", "root", "ci", "--pipeline", name)
        assert (done.returncode, done.stderr) == (2, f"rapidflow: {said}\n")


def test_numbers_of_all_pipelines_are_for_those_who_see_them_all(followed: Followed) -> None:
    vera = as_(token_of(followed.server, "vera"))
    scoped = as_(token_of(followed.server, "root", "--pipeline", str(followed.pipeline)))
    monitor = as_(token_of(followed.server, "root", "--role", "viewer"))
    assert followed.server.get("/metrics", vera).status == 200
    assert followed.server.get("/metrics", scoped).status == 403
    body = {"name": "hidden", "config": "steps: ['true']", "visibility": {"restricted": True}}
    assert followed.as_root("POST", "/pipelines", body).status == 201
    refused = followed.server.get("/metrics", vera)
    assert (refused.status, "rapidflow token add" in refused.json["error"]) == (403, True)
    assert followed.server.get("/metrics", monitor).status == 200


# Pipelines that are hidden from the first moment


def test_a_pipeline_is_made_restricted(followed: Followed) -> None:
    anna, vera = (as_(token_of(followed.server, name)) for name in ("anna", "vera"))
    config = "name: of a few\nsteps: ['true']\n"
    yaml = {**followed.root, "Content-Type": "application/yaml"}
    seen = {"restricted": True, "users": ["anna"]}
    assert followed.server.get("/pipelines", vera).status == 200
    form = urlencode({"config": config, "then": "show", "seen_by": "some", "users": "anna"})
    cookie = followed.session("root")
    for made in (
        followed.as_root("POST", "/pipelines", {"config": config, "visibility": seen}),
        followed.server.request("POST", "/pipelines?restricted=true&users=anna", config, yaml),
        followed.server.request("POST", "/ui/pipelines", form, {**FORM, **cookie}),
    ):
        assert made.status in (201, 303), made.text
        number = made.headers["location"].rpartition("/")[2].partition("?")[0]
        assert followed.server.get(f"/pipelines/{number}", vera).status == 404
        assert followed.server.get(f"/pipelines/{number}", anna).status == 200
        assert followed.as_root("GET", f"/pipelines/{number}/visibility").json == seen
    assert 'name="seen_by"' in followed.server.get("/ui/pipelines/new", cookie).text


def test_a_pipeline_that_nobody_knows_who_may_see_is_not_made(followed: Followed) -> None:
    before = followed.as_root("GET", "/pipelines").json
    config = "name: of nobody\nsteps: ['true']\n"
    yaml = {**followed.root, "Content-Type": "application/yaml"}
    unknown = {"config": config, "visibility": {"restricted": True, "users": ["nobody"]}}
    answer = followed.as_root("POST", "/pipelines", unknown)
    assert (answer.status, answer.json["error"]) == (422, "there is no user nobody")
    for query, status in (("restricted=maybe", 400), ("users=anna", 422), ("restricted=1&users=x", 422)):
        assert followed.server.request("POST", f"/pipelines?{query}", config, yaml).status == status
    both = {"config": config, "visibility": {"restricted": True}}
    assert followed.as_root("POST", "/pipelines?restricted=true", both).status == 400
    assert followed.as_root("PUT", f"/pipelines/{followed.pipeline}", both).status == 422
    form = urlencode({"config": config, "seen_by": "some", "users": "nobody"})
    page = followed.server.request("POST", "/ui/pipelines", form, {**FORM, **followed.session("root")})
    assert (page.status, "there is no user nobody" in page.text.lower()) == (422, True)
    assert followed.as_root("GET", "/pipelines").json == before


# Clients behind a proxy


def test_a_proxy_that_adds_a_line_of_its_own_is_the_one_that_counts(followed: Followed) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", followed.server.port)
    connection.putrequest("POST", "/tokens")
    for name, value in (*followed.root.items(), *JSON.items(), ("Content-Length", "2")):
        connection.putheader(name, value)
    connection.putheader("X-Forwarded-For", "203.0.113.66")
    connection.putheader("X-Forwarded-For", "::ffff:192.0.2.1")
    connection.endheaders(b"{}")
    assert connection.getresponse().status in (403, 422)
    connection.close()
    assert followed.as_root("GET", "/audit?limit=1").json[0]["address"] == "192.0.2.1"


# Builds that wait


def test_a_user_can_not_fill_the_queue(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process", concurrency="1", grace="1s")
    server.set(waiting_builds="5", waiting_builds_per_user="3")
    server.start()
    pipeline = server.pipeline({"name": "a", "steps": ["echo up; exec sleep 1000"]})
    server.wait_output(server.start_build(pipeline), "up")
    for name, role in NAMES:
        add_user(server, name, role)
    root, anna = (as_(token_of(server, name)) for name in ("root", "anna"))
    path = f"/pipelines/{pipeline}/jobs"

    def start(_: int) -> int:
        return server.request("POST", path, None, anna, timeout=120).status

    with ThreadPoolExecutor(12) as pool:
        statuses = sorted(pool.map(start, range(12)))
    assert statuses == [201] * 3 + [429] * 9
    refused = server.request("POST", path, None, anna)
    assert refused.json["error"] == (
        "3 builds that anna started wait already, and one user may have no more; cancel some of them, or try "
        "again when they have begun"
    )
    assert int(refused.headers["retry-after"]) >= 1
    page = server.request("POST", f"/ui{path}", "branch=", {**FORM, "Cookie": session_of(server, "anna")})
    assert (page.status, "3 builds that anna started wait already" in page.text) == (429, True)
    # A retry is a build like any other.
    cancelled = server.get("/jobs?status=pending", anna).json[0]["id"]
    assert server.request("POST", f"/jobs/{cancelled}/cancel", None, anna).status == 200
    assert server.request("POST", f"/jobs/{cancelled}/retry", None, anna).status == 201
    assert server.request("POST", f"/jobs/{cancelled}/retry", None, anna).status == 429
    assert [server.request("POST", path, None, root).status for _ in range(3)] == [201, 201, 429]
    # What was refused is in no log, however often it comes.
    audit = server.get("/audit?limit=200", root).json
    assert 429 not in {entry["status"] for entry in audit}
    wait_for(lambda: len(server.get("/jobs?status=pending", root).json) == 5, "five wait")
    for job in server.get("/jobs", root).json:
        if job["status"] in ("pending", "running"):
            server.request("POST", f"/jobs/{job['id']}/cancel", None, root)
