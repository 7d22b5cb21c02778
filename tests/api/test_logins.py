"""Sessions and passwords, over HTTP, on a real server."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

import pytest

from rapidflow_web.pipeline.durations import format_duration
from tests.support.server import Server
from tests.support.users import PASSWORD, add_user, as_, session_of, token_of, until_slowed
from tests.support.world import FORM, JSON, World


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
    wait = format_duration(int(answers[-1].headers["retry-after"]))
    assert f"there were too many wrong passwords; wait {wait}" in answers[-1].text.lower()
    # Also with the right one, or it would be an oracle; and whoever is in stays in.
    assert server.request("POST", "/login", f"name=root&password={PASSWORD}", FORM).status == 429
    audit = server.get("/audit", as_(token_of(server, "root"))).json
    found = [entry for entry in audit if entry["action"] == "pages.log_in"]
    assert [(entry["actor"], entry["status"], entry["count"]) for entry in found] == [
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
    entries = server.get("/audit", as_(token_of(server, "root"))).json
    assert {entry["address"] for entry in entries if entry["actor"] == "root"} == {"192.0.2.1"}
    # Behind two proxies.
    server.stop()
    server.set(proxy_addresses="127.0.0.1, 203.0.113.0/24")
    server.start()
    chain = "192.0.2.3, 203.0.113.7,203.0.113.8:4711"
    assert server.request("POST", "/login", form, {**FORM, "X-Forwarded-For": chain}).status == 303
    newest = server.get("/audit?limit=2", as_(token_of(server, "root"))).json
    assert "192.0.2.3" in {entry["address"] for entry in newest}
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
    assert (refused.status, "127.0.0.1 is not in RAPIDFLOW_PROXY_ADDRESSES" in refused.text) == (401, True)


def test_a_login_that_is_checked_while_the_password_changes_begins_no_session(
    new_server: Callable[..., Server],
) -> None:
    server = new_server(executor="process").start()
    for name, role in (("root", "admin"), ("anna", "builder")):
        add_user(server, name, role, cheap=False)
    root = as_(token_of(server, "root"))
    form = urlencode({"name": "anna", "password": PASSWORD})
    with ThreadPoolExecutor(5) as several:
        logins = [several.submit(server.request, "POST", "/login", form, FORM) for _ in range(4)]
        body = json.dumps({"password": "another one"})
        reset = several.submit(server.request, "PUT", "/users/2", body, {**JSON, **root})
        assert reset.result().status == 200
        for login in logins:
            cookie = login.result().headers.get("set-cookie", "").partition(";")[0]
            assert server.get("/me", {"Cookie": cookie}).status == 401


def test_a_change_of_ones_password_does_not_undo_that_of_an_administrator(
    new_server: Callable[..., Server],
) -> None:
    server = new_server(executor="process").start()
    for name, role in (("root", "admin"), ("anna", "builder")):
        add_user(server, name, role, cheap=False)
    root, cookie = as_(token_of(server, "root")), {"Cookie": session_of(server, "anna")}
    own = json.dumps({"password": PASSWORD, "new_password": "by whoever was in"})
    reset = json.dumps({"password": "by the administrator"})
    with ThreadPoolExecutor(2) as several:
        first = several.submit(server.request, "PUT", "/me/password", own, {**JSON, **cookie})
        second = several.submit(server.request, "PUT", "/users/2", reset, {**JSON, **root})
        assert (second.result().status, first.result().status in (200, 401, 422)) == (200, True)
    assert server.get("/me", cookie).status == 401
    session_of(server, "anna", "by the administrator")
