"""Who may do what, over HTTP, on a real server: every route and method, with every role."""

from __future__ import annotations

import itertools
import json
import re
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlencode

import pytest

from rapidflow_web.accounts.roles import Role
from rapidflow_web.web.route_roles import ROLES
from tests.support.server import Answer, Server, wait_for
from tests.support.users import PASSWORD, add_user, as_, session_of, token_of, until_slowed

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JSON = {"Content-Type": "application/json"}


class World:
    """A server with one user of each role, a pipeline, and a finished build of it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.pipeline = server.pipeline({"name": "open", "steps": ["echo out"]})
        self.job = server.wait_finished(server.start_build(self.pipeline))["job"]["id"]
        for role in ("admin", "builder", "viewer"):
            add_user(server, role, role)
        self.tokens = {role: token_of(server, role) for role in ("admin", "builder", "viewer")}

    def ask(self, method: str, path: str, who: str | None, body: Any = None, **headers: str) -> Answer:
        """A request with the token of a role, or with none."""
        data = None if body is None else json.dumps(body)
        given = as_(self.tokens[who]) if who is not None else {}
        return self.server.request(method, path, data, {**given, **(JSON if data else {}), **headers})


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Any:
    server = Server(tmp_path_factory.mktemp("access") / "data", executor="process", grace="1s").start()
    yield World(server)
    server.stop()


def stored(server: Server) -> bytes:
    """All that the database holds, what is not yet in its file, too."""
    return b"".join(path.read_bytes() for path in server.data.glob("rapidflow.db*"))


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
            assert f"only {needed.word}s" in answer.text.lower()


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


def test_a_session_is_a_cookie_that_scripts_and_other_sites_do_not_get(world: World) -> None:
    form = f"name=viewer&password={PASSWORD.replace(' ', '+')}&next=/ui/api"
    answer = world.server.request("POST", "/login", form, FORM)
    assert (answer.status, answer.headers["location"]) == (303, "/ui/api")
    said = answer.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= {part.strip() for part in said.split(";")}
    assert "Secure" not in said
    behind_tls = world.server.request("POST", "/login", form, {**FORM, "X-Forwarded-Proto": "https"})
    assert "Secure" in behind_tls.headers["set-cookie"]
    cookie = {"Cookie": said.partition(";")[0]}
    assert world.server.get("/me", cookie).json == {"name": "viewer", "role": "viewer", "token": None}
    page = world.server.get("/", cookie).text
    assert "Log out" in page and 'href="/ui/account"' in page
    assert "New pipeline" not in page and "Start open" not in page
    assert world.server.request("POST", "/logout", None, cookie).headers["location"] == "/login"
    assert world.server.get("/me", cookie).status == 401
    # What is stored does not let anybody in.
    assert said.partition("=")[2].partition(";")[0] not in (
        world.server.data / "rapidflow.db"
    ).read_bytes().decode("latin-1")


@pytest.mark.parametrize(
    "then", ["//evil.example/", "/\\evil.example", "https://evil.example", "", "/a\r\nX: y"]
)
def test_a_login_leads_to_no_other_site(world: World, then: str) -> None:
    form = urlencode({"name": "viewer", "password": PASSWORD, "next": then})
    assert world.server.request("POST", "/login", form, FORM).headers["location"] == "/"


def test_a_wrong_password_is_refused_and_tried_slower_and_slower(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process").start()
    add_user(server, "root", "admin")
    answers = until_slowed(lambda: server.request("POST", "/login", "name=root&password=wrong", FORM))
    assert [answer.status for answer in answers[:5]] == [401] * 5
    assert {answer.status for answer in answers[5:]} <= {401, 429}
    assert "wrong name or password" in answers[0].text.lower()
    assert "there were too many wrong passwords; wait 8 s" in answers[-1].text.lower()
    # Also with the right one, or it would be an oracle; and whoever is in stays in.
    assert server.request("POST", "/login", f"name=root&password={PASSWORD}", FORM).status == 429
    audit = server.get("/audit", as_(token_of(server, "root"))).json
    found = [deed for deed in audit if deed["action"] == "pages.log_in"]
    assert [(deed["actor"], deed["status"], deed["count"]) for deed in found] == [
        ("root", 401, sum(answer.status == 401 for answer in answers))
    ]


def test_wrong_passwords_of_one_client_behind_a_proxy_do_not_slow_down_another(
    new_server: Callable[..., Server],
) -> None:
    server = new_server(executor="process").start()
    for name in ("root", "anna"):
        add_user(server, name, "admin")
    wrong = {**FORM, "X-Forwarded-For": "198.51.100.1, 192.0.2.1"}
    until_slowed(lambda: server.request("POST", "/login", "name=root&password=wrong", wrong))
    form = urlencode({"name": "anna", "password": PASSWORD})
    assert server.request("POST", "/login", form, {**FORM, "X-Forwarded-For": "192.0.2.1"}).status == 429
    assert server.request("POST", "/login", form, {**FORM, "X-Forwarded-For": "192.0.2.2"}).status == 303
    deeds = server.get("/audit", as_(token_of(server, "root"))).json
    assert {deed["address"] for deed in deeds if deed["actor"] == "root"} == {"192.0.2.1"}
    # Whoever is no proxy can't say who they are.
    server.stop()
    server.set(proxy_addresses="203.0.113.1")
    server.start()
    numbers = itertools.count()
    until_slowed(
        lambda: server.request(
            "POST",
            "/login",
            f"name=someone{next(numbers)}&password=wrong",
            {**FORM, "X-Forwarded-For": f"192.0.2.{next(numbers) % 250}"},
        )
    )


def test_a_token_for_some_pipelines_can_not_administer(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process").start()
    pipeline = server.pipeline({"name": "one", "steps": ["true"]})
    add_user(server, "root", "admin")
    body = {"name": "one", "pipelines": [pipeline], "role": "admin"}
    cookie = {"Cookie": session_of(server, "root"), **JSON}
    made = server.request("POST", "/tokens", json.dumps(body), cookie).json
    assert made["role"] == "builder"
    server.stop()
    server.sql("UPDATE token SET role = 'admin'")  # as an earlier version may have stored it
    server.start()
    limited = as_(made["secret"])
    assert server.get("/me", limited).json["role"] == "builder"
    new = json.dumps({"name": "eve", "role": "admin", "password": PASSWORD})
    assert server.request("POST", "/users", new, {**limited, **JSON}).status == 403
    assert server.request("POST", f"/pipelines/{pipeline}/jobs", None, limited).status == 201


def test_many_who_try_at_once_get_no_further(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process").start()
    add_user(server, "root", "admin")
    with ThreadPoolExecutor(20) as pool:
        found = list(
            pool.map(
                lambda _: server.request("POST", "/login", "name=root&password=wrong", FORM).status, range(40)
            )
        )
    assert found.count(401) <= 15
    assert set(found) == {401, 429}


# Other websites


@pytest.mark.parametrize("who", [None, "open"])
def test_the_server_answers_only_to_its_own_names(new_server: Callable[..., Server], who: str | None) -> None:
    server = new_server(executor="process", hosts="build.example.org").start()
    if who is None:
        add_user(server, "root", "admin")
    job = "/health" if who is None else "/jobs"
    for host in ("evil.example", "evil.example:3000", "localhost.evil.example", "127.0.0.1.evil.example"):
        answer = server.get(job, {"Host": host})
        sentence = f"this server does not answer to the name '{host}'; add it to RAPIDFLOW_HOSTS"
        assert (answer.status, answer.json) == (403, {"error": sentence})
    for host in (f"localhost:{server.port}", "127.0.0.1", "[::1]:80", "a.localhost", "build.example.org:443",
                 "BUILD.example.org.", socket.gethostname()):  # fmt: skip
        assert server.get(job, {"Host": host}).status == 200, host


def test_kept_details_are_not_for_other_names(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process").start()
    job_id = server.run({"name": "kept", "steps": ["true"]})["job"]["id"]
    for _ in range(3):
        assert server.get(f"/jobs/{job_id}/details").status == 200
        assert server.get(f"/jobs/{job_id}/details", {"Host": "evil.example"}).status == 403


# Tokens


def test_a_token_is_shown_once_can_do_no_more_than_its_user_and_ends(world: World) -> None:
    cookie = {"Cookie": session_of(world.server, "builder"), **JSON}
    refused = world.server.request("POST", "/tokens", '{"name": "x", "role": "admin"}', cookie)
    assert (refused.status, refused.json) == (403, {"error": "your role is builder; a token can't have more"})
    made = world.server.request(
        "POST", "/tokens", '{"name": "reads", "role": "viewer", "expires_in_days": 7}', cookie
    ).json
    secret = made.pop("secret")
    assert re.fullmatch(r"rapidflow_[\w-]{43}", secret)
    assert world.server.get("/me", as_(secret)).json == {
        "name": "builder",
        "role": "viewer",
        "token": "reads",
    }
    listed = world.server.get("/tokens", cookie)
    assert secret not in listed.text
    (mine,) = [token for token in listed.json if token["id"] == made["id"]]
    assert mine["used_at"] is not None and mine["expires_at"] is not None
    assert secret.encode() not in stored(world.server)
    assert world.server.request("POST", "/tokens", '{"name": "x"}', {**as_(secret), **JSON}).status == 403
    # Nobody but its user and administrators sees or revokes it.
    assert made["id"] not in [token["id"] for token in world.ask("GET", "/tokens", "viewer").json]
    assert world.ask("DELETE", f"/tokens/{made['id']}", "viewer").status == 404
    assert made["id"] in [token["id"] for token in world.ask("GET", "/tokens", "admin").json]
    assert world.server.request("DELETE", f"/tokens/{made['id']}", None, cookie).status == 200
    assert world.server.get("/me", as_(secret)).status == 401


def test_a_token_that_has_expired_or_was_revoked_beside_the_server_ends(
    new_server: Callable[..., Server],
) -> None:
    server = new_server(executor="process")
    add_user(server, "root", "admin")
    token = token_of(server, "root", "--days", "1")
    other = token_of(server, "root")
    server.start()
    assert server.get("/me", as_(token)).status == server.get("/me", as_(other)).status == 200
    listing = server.command("token", "list").stdout
    assert server.command("token", "revoke", listing.split()[0]).returncode == 0
    wait_for(lambda: server.get("/me", as_(other)).status == 401, "it is revoked")
    server.stop()
    server.sql("UPDATE token SET expires_at = 1")
    server.start()
    assert server.get("/me", as_(token)).status == 401


def test_a_follower_whose_token_is_revoked_is_cut_and_does_not_come_back(world: World) -> None:
    made = world.server.request(
        "POST", "/tokens", '{"name": "tail"}', {"Cookie": session_of(world.server, "viewer"), **JSON}
    ).json
    pipeline = world.ask(
        "POST", "/pipelines", "admin", {"config": "name: long\nsteps: ['echo up; exec sleep 1000']\n"}
    ).json["id"]
    job = world.ask("POST", f"/pipelines/{pipeline}/jobs", "admin").json["id"]
    follower = world.server.follow(job, "follow=true", as_(made["secret"]))
    follower.wait_for(b"up\n")
    assert world.ask("DELETE", f"/tokens/{made['id']}", "admin").status == 200
    follower.wait(20)
    assert follower.complete is False
    assert world.server.get(f"/jobs/{job}/logs/stream", as_(made["secret"])).status == 401
    assert world.ask("POST", f"/jobs/{job}/cancel", "builder").status == 200


# Users


def test_users_are_added_changed_and_removed_but_never_the_last_administrator(
    new_server: Callable[..., Server],
) -> None:
    server = new_server(executor="process").start()
    admin = {"name": "root", "role": "admin", "password": PASSWORD}
    for wrong in ({"name": "root"}, {**admin, "role": "builder"}, {"name": "root", "role": "admin"}):
        assert server.post("/users", wrong).status == 400
    assert server.get("/jobs").status == 200
    root = server.post("/users", admin).json["id"]
    assert server.get("/jobs").status == 401
    cookie = {"Cookie": session_of(server, "root"), **JSON}

    def call(method: str, path: str, body: Any = None) -> Answer:
        return server.request(method, path, json.dumps(body) if body is not None else None, cookie)

    assert call("POST", "/users", admin).status == 409
    anna = call("POST", "/users", {"name": "anna", "password": "password 1"}).json
    assert (anna["role"], anna["has_password"]) == ("viewer", True)
    assert "password" not in call("GET", "/users").text.replace("has_password", "")
    for method, body in (("PUT", {"role": "viewer"}), ("DELETE", None)):
        refused = call(method, f"/users/{root}", body)
        assert (refused.status, "last administrator" in refused.text) == (400, True)
    hers = {"Cookie": session_of(server, "anna", "password 1")}
    assert server.request("POST", "/pipelines", None, hers).status == 403
    assert call("PUT", f"/users/{anna['id']}", {"role": "admin"}).json["role"] == "admin"
    assert server.request("POST", "/pipelines", None, hers).status == 415
    # A new password ends what the old one began.
    assert call("PUT", f"/users/{anna['id']}", {"password": "password 2"}).status == 200
    assert server.get("/me", hers).status == 401
    hers = {"Cookie": session_of(server, "anna", "password 2")}
    assert call("DELETE", f"/users/{anna['id']}").status == 200
    assert server.get("/me", hers).status == 401
    database = stored(server)
    assert PASSWORD.encode() not in database and b"$argon2id$" in database


def test_a_proxy_in_front_says_who_it_is_and_nobody_else_may(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process", login="proxy", proxy_header="Remote-User")
    server.set(proxy_addresses="127.0.0.1")
    server.start()
    server.command("user", "add", "boss", "--role", "admin", "--no-password")
    assert server.get("/jobs").status == 401
    assert server.get("/me", {"Remote-User": "anna"}).json["role"] == "viewer"
    assert server.get("/me", {"Remote-User": "boss"}).json["role"] == "admin"
    assert server.get("/me", {"X-Forwarded-User": "boss"}).status == 401
    server.stop()
    server.set(proxy_addresses="192.0.2.0/24")
    server.start()
    refused = server.get("/me", {"Remote-User": "boss"})
    assert (refused.status, "127.0.0.1 is none of RAPIDFLOW_PROXY_ADDRESSES" in refused.text) == (401, True)


# Visibility


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


# The audit log


def test_the_audit_log_is_kept_for_a_year(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process").start()
    for name in ("old", "young"):
        server.pipeline({"name": name, "steps": ["true"]})
    server.stop()
    server.sql("UPDATE deed SET at = at - 366 * 86400000 WHERE id = 1")
    server.sql("UPDATE deed SET at = at - 364 * 86400000 WHERE id = 2")
    server.start()
    assert [deed["id"] for deed in server.get("/audit").json] == [2, 1]
    assert server.post("/prune").status == 200
    assert [deed["id"] for deed in server.get("/audit").json] == [3, 2]


def test_the_audit_log_tells_who_did_what(world: World) -> None:
    assert world.ask("POST", f"/jobs/{world.job}/retry", "viewer").status == 403
    retried = world.ask("POST", f"/jobs/{world.job}/retry", "builder")
    assert retried.status == 201
    path = retried.headers["location"]
    wait_for(lambda: world.ask("GET", path, "viewer").json["finished_at"], "the retry has ended")
    assert world.ask("GET", "/jobs", "builder").status == 200
    deeds = world.ask("GET", "/audit?limit=2", "admin").json
    assert [(deed["actor"], deed["action"], deed["target"], deed["status"]) for deed in deeds] == [
        ("builder (token for a test)", "jobs.retry_job", f"/jobs/{world.job}/retry", 201),
        ("viewer (token for a test)", "jobs.retry_job", f"/jobs/{world.job}/retry", 403),
    ]
    assert deeds[0]["address"] == "127.0.0.1"
    again = world.ask("GET", "/jobs?limit=1", "admin").json[0]
    assert again["started_by"] == "builder"
    commands = [
        deed for deed in world.ask("GET", "/audit?limit=200", "admin").json if deed["action"] == "user add"
    ]
    assert len(commands) == 3 and "(command line)" in commands[0]["actor"]
