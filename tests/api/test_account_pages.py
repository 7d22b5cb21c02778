"""Pages of accounts over HTTP: who gets them, what is refused, what is never shown or kept."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from urllib.parse import quote_plus, urlencode

import pytest

from tests.support.pages import made_from
from tests.support.server import Answer, Server
from tests.support.users import PASSWORD, add_user, as_, session_of, token_of, until_slowed

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JSON = {"Content-Type": "application/json"}
ACCOUNT = ("/ui/account",)
ADMINISTRATION = ("/ui/users", "/ui/users/1", "/ui/audit")


class Team:
    """A server with users root (admin), anna (builder) and vera (viewer), who are logged in."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.cookies: dict[str, dict[str, str]] = {}
        for name, role in (("root", "admin"), ("anna", "builder"), ("vera", "viewer")):
            add_user(server, name, role)
            self.cookies[name] = {"Cookie": session_of(server, name)}

    def get(self, who: str, path: str) -> Answer:
        """A page as one of them sees it."""
        return self.server.get(path, self.cookies[who])

    def send(self, who: str, path: str, /, **fields: str | list[str]) -> Answer:
        """A form as one of them sends it."""
        form = urlencode(fields, doseq=True)
        return self.server.request("POST", path, form, {**FORM, **self.cookies[who]})

    def make_token(self, who: str, /, **fields: str | list[str]) -> str:
        """A token that one of them makes."""
        page = self.send(who, "/ui/account/tokens", **{"name": "made", "role": "viewer", **fields})
        assert page.status == 200, page.text
        found = re.search(r'id="secret">(rapidflow_[\w-]{43})</pre>', page.text)
        assert found is not None
        return found[1]


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    server = Server(tmp_path_factory.mktemp("team") / "data", executor="process", grace="1s").start()
    yield Team(server)
    server.stop()


# Who gets what


@pytest.mark.parametrize("name", ["anna", "vera"])
def test_pages_of_administrators_tell_others_why_they_do_not_open(team: Team, name: str):
    role = {"anna": "builder", "vera": "viewer"}[name]
    for path in ADMINISTRATION:
        page = team.get(name, path)
        assert page.status == 403
        assert "Not allowed" in page.text
        assert f"Only admins can open this; your role is {role}." in page.text
    home = team.get(name, "/").text
    for path in ("/ui/users", "/ui/audit", "/ui/pipelines/new"):
        assert f'href="{path}"' not in home
        assert f'href="{path}"' in team.get("root", "/").text
    assert 'href="/ui/account"' in home


def test_no_browser_and_no_proxy_keeps_a_page_of_accounts(team: Team):
    pages = [team.get("root", path) for path in (*ACCOUNT, *ADMINISTRATION)]
    pages += [team.send("root", path) for path in ("/ui/account/tokens", "/ui/account/password", "/ui/users")]
    pages += [team.server.get("/login"), team.server.request("POST", "/login", "name=x", FORM)]
    assert [page.headers["cache-control"] for page in pages] == ["private, no-store"] * len(pages)


def test_addresses_of_forms_lead_to_their_page(team: Team):
    for form, leads_to in (
        ("/ui/users/1/role", "/ui/users/1"),
        ("/ui/users/1/remove", "/ui/users/1"),
        ("/ui/pipelines/1/visibility", "/ui/pipelines/1"),
        ("/ui/account/tokens", "/ui/account"),
        ("/ui/account/password", "/ui/account"),
    ):
        answer = team.get("root", form)
        assert (answer.status, answer.headers["location"]) == (303, leads_to)


# Passwords


def test_a_new_password_needs_the_old_one_and_ends_the_other_sessions(new_server: Callable[..., Server]):
    team = Team(new_server(executor="process").start())
    other = {"Cookie": session_of(team.server, "anna")}
    token = as_(token_of(team.server, "anna"))
    new = "another password"

    def change(password: str, again: str = new) -> Answer:
        fields = {"password": password, "new_password": new, "again": again}
        return team.send("anna", "/ui/account/password", **fields)

    for page, sentence in (
        (change("wrong password"), "The current password is wrong; try again."),
        (change(PASSWORD, "something else"), "The passwords do not match; type the new one again."),
    ):
        assert page.status == 422
        assert sentence in page.text
        assert new not in page.text and PASSWORD not in page.text
    assert team.server.get("/me", other).status == 200
    assert change(PASSWORD).headers["location"] == "/ui/account?done=password"
    assert team.server.get("/me", other).status == 401
    assert team.get("anna", "/me").status == team.server.get("/me", token).status == 200
    assert session_of(team.server, "anna", new)


def test_the_api_changes_a_password_by_the_same_rules(new_server: Callable[..., Server]):
    team = Team(new_server(executor="process").start())

    def change(headers: dict[str, str], password: str, new: str) -> Answer:
        body = json.dumps({"password": password, "new_password": new})
        return team.server.request("PUT", "/me/password", body, {**JSON, **headers})

    refused = change(as_(token_of(team.server, "vera")), PASSWORD, "another password")
    assert refused.status == 403
    assert refused.json["error"].endswith("log in with your password")
    assert change(team.cookies["vera"], PASSWORD, "short").status == 422
    wrong = until_slowed(lambda: change(team.cookies["vera"], "wrong password", "another password"))
    assert [answer.status for answer in wrong[:5]] == [422] * 5
    assert {answer.status for answer in wrong[5:]} <= {422, 429}
    assert change(team.cookies["vera"], PASSWORD, "another password").status == 429


def test_sessions_in_other_browsers_end_when_their_user_says_so(team: Team):
    others = [{"Cookie": session_of(team.server, "anna")} for _ in range(2)]
    assert "End the other sessions" in team.get("anna", "/ui/account").text
    assert team.send("anna", "/ui/account/sessions").status == 303
    assert [team.server.get("/me", other).status for other in others] == [401, 401]
    assert team.get("anna", "/me").status == 200
    assert "End the other sessions" not in team.get("anna", "/ui/account").text


# Tokens


def test_a_token_is_shown_in_the_answer_to_its_form_and_nowhere_else(team: Team):
    secret = team.make_token("anna", name="notebook", role="builder", days="30")
    assert team.server.get("/me", as_(secret)).json == {
        "name": "anna",
        "role": "builder",
        "token": "notebook",
    }
    page = team.get("anna", "/ui/account").text
    assert "notebook" in page and secret not in page
    assert "notebook" not in team.get("vera", "/ui/account").text
    number = re.search(r'action="/ui/account/tokens/(\d+)/revoke"', page)
    assert number is not None
    assert team.send("vera", f"/ui/account/tokens/{number[1]}/revoke").status == 404
    assert team.send("anna", f"/ui/account/tokens/{number[1]}/revoke").status == 303
    assert team.server.get("/me", as_(secret)).status == 401


def test_a_token_may_be_for_some_pipelines_only(team: Team):
    headers = {**team.cookies["root"], "Content-Type": "application/yaml"}
    shown, hidden = (
        team.server.request("POST", "/pipelines", f"name: {name}\nsteps: ['true']\n", headers).json["id"]
        for name in ("shown", "hidden")
    )
    secret = team.make_token("anna", role="builder", pipelines=[str(shown)])
    listed = team.server.get("/pipelines", as_(secret)).json
    assert [pipeline["id"] for pipeline in listed] == [shown]
    assert team.server.get(f"/pipelines/{hidden}", as_(secret)).status == 404


@pytest.mark.parametrize(
    ("fields", "status", "sentence"),
    [
        ({"name": ""}, 422, "Name: use 1 to 64 characters, without line breaks"),
        ({"name": "n" * 65}, 422, "Name: use 1 to 64 characters, without line breaks"),
        ({"name": "two\nlines"}, 422, "Name: use 1 to 64 characters, without line breaks"),
        ({"days": "0"}, 422, "Days: use a whole number from 1 to 3650, not &#39;0&#39;."),
        ({"days": "soon"}, 422, "Days: use a whole number from 1 to 3650, not &#39;soon&#39;."),
        ({"role": "admin"}, 422, "Role: use one of viewer, builder."),
        ({"pipelines": ["999999"]}, 422, "There is no pipeline 999999."),
        ({"pipelines": ["x"]}, 404, "There is no pipeline &#39;x&#39;"),
    ],
)
def test_a_token_that_can_not_be_is_refused_and_what_was_typed_stays(
    team: Team, fields: dict[str, str], status: int, sentence: str
):
    sent = {"name": "typed <name>", "role": "builder", "days": "77", **fields}
    page = team.send("anna", "/ui/account/tokens", **sent)
    assert page.status == status
    assert sentence in page.text
    for value in (sent["name"], sent["days"]):
        assert f'value="{value}"'.replace("<", "&lt;").replace(">", "&gt;") in page.text
    assert 'id="secret"' not in page.text


def test_programs_make_no_tokens_of_tokens(team: Team):
    token = as_(team.make_token("anna"))
    form = urlencode({"name": "more", "role": "viewer"})
    page = team.server.request("POST", "/ui/account/tokens", form, {**FORM, **token})
    assert page.status == 403
    assert "New token" not in page.text and "Change password" not in page.text


def test_behind_tls_the_commands_have_the_address_that_the_browser_has(team: Team):
    form = urlencode({"name": "tls", "role": "viewer"})
    headers = {**FORM, **team.cookies["anna"], "X-Forwarded-Proto": "https"}
    page = team.server.request("POST", "/ui/account/tokens", form, headers).text
    assert f"RAPIDFLOW_URL=https://127.0.0.1:{team.server.port} " in page


# Users


def test_the_first_user_is_an_administrator_and_logs_in(new_server: Callable[..., Server]):
    server = new_server(executor="process").start()
    for path in ("/ui/users", "/ui/account"):
        assert "first user" in server.get(path).text
    home = server.get("/").text
    assert 'href="/ui/users"' in home
    assert 'href="/ui/account"' not in home and "Log out" not in home

    def add(**fields: str) -> Answer:
        return server.request("POST", "/ui/users", urlencode(fields), FORM)

    refused = add(name="root", role="viewer", password=PASSWORD)
    assert refused.status == 400
    assert "The first user must be an admin with a password" in refused.text
    assert server.get("/").status == 200
    made = add(name="root", role="admin", password=PASSWORD)
    assert (made.status, made.headers["location"]) == (303, "/login?next=/ui/users")
    assert server.get("/").headers["location"] == "/login?next=%2F"
    assert session_of(server, "root")


@pytest.mark.parametrize(
    ("fields", "status", "sentence"),
    [
        (
            {"name": "a b"},
            422,
            "&#39;a b&#39; is not a valid name; use at most 64 letters, digits and . _ - @.",
        ),
        ({"name": ""}, 422, "&#39;&#39; is not a valid name; use at most 64 letters, digits and . _ - @."),
        ({"name": "anna"}, 409, "There is a user anna already; choose another name, or change that one."),
        ({"role": "king"}, 422, "Role: use one of viewer, builder, admin."),
        ({"password": "short"}, 422, "Password: use a password of 8 to 1024 characters."),
        ({"password": ""}, 422, "Password: give the user one to log in with."),
    ],
)
def test_a_user_who_can_not_be_is_refused_and_what_was_typed_stays(
    team: Team, fields: dict[str, str], status: int, sentence: str
):
    sent = {"name": "otto", "role": "builder", "password": "not to be seen", **fields}
    page = team.send("root", "/ui/users", **sent)
    assert page.status == status
    assert sentence in page.text
    assert f'name="name" value="{sent["name"]}"' in page.text
    assert "not to be seen" not in page.text
    names = [user["name"] for user in team.get("root", "/users").json]
    assert names == ["anna", "root", "vera"]


def test_a_user_is_added_changed_and_removed_by_forms(team: Team):
    added = team.send("root", "/ui/users", name="otto", role="viewer", password=PASSWORD)
    assert added.headers["location"] == "/ui/users?done=added"
    number = next(user["id"] for user in team.get("root", "/users").json if user["name"] == "otto")
    page = f"/ui/users/{number}"
    assert "The user is added." in team.get("root", added.headers["location"]).text
    his = {"Cookie": session_of(team.server, "otto")}
    assert "<dt>Last login</dt><dd><time" in team.get("root", page).text
    assert team.send("root", f"{page}/role", role="builder").headers["location"] == f"{page}?done=role"
    assert team.server.get("/me", his).json["role"] == "builder"
    assert team.send("root", f"{page}/password", password="short").status == 422
    assert team.send("root", f"{page}/password", password="password 2").status == 303
    assert team.server.get("/me", his).status == 401
    token = token_of(team.server, "otto")
    revoke = re.search(rf'action="({page}/tokens/\d+/revoke)"', team.get("root", page).text)
    assert revoke is not None
    assert team.send("root", revoke[1]).headers["location"] == f"{page}?done=revoked"
    assert team.server.get("/me", as_(token)).status == 401
    assert team.send("root", f"{page}/remove").headers["location"] == "/ui/users?done=removed"
    assert team.get("root", page).status == 404


def test_the_last_administrator_is_neither_removed_nor_given_another_role(team: Team):
    number = next(user["id"] for user in team.get("root", "/users").json if user["name"] == "root")
    for path, fields in (
        (f"/ui/users/{number}/remove", {}),
        (f"/ui/users/{number}/role", {"role": "viewer"}),
    ):
        page = team.send("root", path, **fields)
        assert page.status == 400
        assert "This is the last administrator who can log in; make another user" in page.text
    assert team.get("root", "/me").json["role"] == "admin"


def test_the_only_user_goes_where_nobody_needs_to_log_in_then_and_stays_where_others_reach_the_server(
    new_server: Callable[..., Server],
):
    server = new_server(executor="process")
    server.set(bind=f"0.0.0.0:{server.port}")
    add_user(server, "root", "admin")
    server.start()
    for status in (400, 303):
        cookie = {"Cookie": session_of(server, "root")}
        assert server.request("POST", "/ui/users/1/remove", None, cookie).status == status
        server.stop()
        server.set(bind=f"127.0.0.1:{server.port}")
        server.start()
    assert server.get("/me").json == {"name": None, "role": "admin", "token": None}
    command = f"RAPIDFLOW_DATA={server.data} rapidflow user add NAME --role admin"
    assert command in server.get("/ui/users").text


def test_users_whom_a_proxy_logs_in_need_no_password_and_have_no_log_out(new_server: Callable[..., Server]):
    server = new_server(executor="process", login="proxy", proxy_header="Remote-User")
    server.set(proxy_addresses="127.0.0.1")
    server.start()
    server.command("user", "add", "boss", "--role", "admin", "--no-password")
    boss = {"Remote-User": "boss"}
    form = urlencode({"name": "anna", "role": "builder", "password": ""})
    assert server.request("POST", "/ui/users", form, {**FORM, **boss}).status == 303
    page = server.get("/ui/account", boss).text
    assert "New token" in page
    assert "Log out" not in page and "Change password" not in page
    stranger = server.get("/ui/account", {"Remote-User": "stranger"}).text
    assert "An administrator can add you as a user" in stranger
    assert "New token" not in stranger


def test_a_name_that_nobody_can_have_is_just_not_known(team: Team):
    for name in ("x" * 5_000, "ro\0ot", "<b>root</b>"):
        answer = team.server.request("POST", "/login", urlencode({"name": name, "password": "wrong"}), FORM)
        assert answer.status in (401, 429)
        assert answer.headers["content-type"].startswith("text/html")
        assert team.get("root", f"/ui/audit?{urlencode({'user': name})}").status == 200
        assert team.get("root", f"/audit?{urlencode({'user': name.replace(chr(0), '')})}").status == 200
        assert team.send("root", "/ui/pipelines/1/visibility", seen_by="some", users=[name]).status in (
            404,
            422,
        )


# Visibility


def test_a_pipeline_is_restricted_by_a_form_marked_in_lists_and_shown_again(team: Team):
    headers = {**team.cookies["root"], "Content-Type": "application/yaml"}
    config = "name: of its own\nsteps: ['true']\n"
    number = team.server.request("POST", "/pipelines", config, headers).json["id"]
    page, form = f"/ui/pipelines/{number}", f"/ui/pipelines/{number}/visibility"
    assert team.get("vera", page).status == 200
    assert "Visibility" not in team.get("vera", page).text
    assert team.send("root", form, seen_by="some", users=["anna"]).headers["location"] == page
    assert team.get("vera", page).status == 404
    assert 'title="Only administrators' in team.get("anna", page).text
    assert 'title="Only administrators' in team.get("anna", "/").text
    assert 'value="anna" checked' in team.get("root", page).text
    for fields in ({"seen_by": "some", "users": ["nobody"]}, {"seen_by": "x"}, {}):
        assert team.send("root", form, **fields).status == 422
    # An old page does not undo unseen what others changed after it was opened.
    old = made_from(team.get("root", page).text)
    assert team.send("root", form, seen_by="all").status == 303
    refused = team.send("root", form, seen_by="some", users=["anna", "vera"], **old)
    assert refused.status == 409 and "the visibility was changed to everyone after" in refused.text
    assert 'value="vera" checked' in refused.text and 'value="some" checked' in refused.text
    seen = f"/pipelines/{number}/visibility"
    assert team.server.get(seen, team.cookies["root"]).json == {"restricted": False, "users": []}
    again = made_from(refused.text)
    assert team.send("root", form, seen_by="some", users=["anna", "vera"], **again).status == 303
    assert team.server.get(seen, team.cookies["root"]).json["users"] == ["anna", "vera"]
    assert team.send("root", form, seen_by="all").status == 303
    assert team.get("vera", page).status == 200
    assert team.server.get(f"/pipelines/{number}/visibility", team.cookies["root"]).json == {
        "restricted": False,
        "users": [],
    }


# The audit log


def test_the_audit_log_says_whom_it_was_about(new_server: Callable[..., Server]):
    team = Team(new_server(executor="process").start())
    team.send("root", "/ui/users", name="otto", role="viewer", password=PASSWORD)
    number = next(user["id"] for user in team.get("root", "/users").json if user["name"] == "otto")
    team.send("root", f"/ui/users/{number}/remove")
    team.make_token("anna", name="laptop")
    entries = team.get("root", "/audit?limit=3").json
    assert [(entry["actor"], entry["action"], entry["target"], entry["status"]) for entry in entries] == [
        ("anna", "pages.make_token", "/ui/account/tokens (laptop)", 200),
        ("root", "pages.remove_user", f"/ui/users/{number}/remove (otto)", 303),
        ("root", "pages.add_user", "/ui/users (otto: viewer)", 303),
    ]
    # Nor does it tell what somebody has put where it does not belong.
    for address in ("/ui/users", "/users", "/me/password", "/login"):
        team.send("root", f"{address}?{urlencode({'password': PASSWORD})}")
    told = team.get("root", "/audit?limit=200").text
    assert PASSWORD not in told and quote_plus(PASSWORD) not in told and "password=" not in told
    team.send("root", "/prune?dry_run=true")
    assert team.get("root", "/audit?limit=1").json[0]["target"] == "/prune?dry_run=true"
    page = team.get("root", "/ui/audit").text
    for words in ("make token", "remove user", "add user", "/ui/users (otto: viewer)", "127.0.0.1"):
        assert words in page


def test_audit_entries_are_read_page_by_page_and_by_user(new_server: Callable[..., Server]):
    team = Team(new_server(executor="process").start())
    token = team.make_token("anna")
    assert team.server.request("POST", "/prune", None, as_(token)).status == 403
    team.server.stop()
    actors = ("anna", "ann", "a_na", "anna (token laptop)")
    with closing(sqlite3.connect(team.server.data / "rapidflow.db")) as database, database:
        database.execute("DELETE FROM deed")
        database.executemany(
            "INSERT INTO deed (at, actor, user_name, address, action, target, status) "
            "VALUES (?, ?, ?, '', 'x', 'y', 200)",
            [(at, who, who.partition(" (token ")[0]) for at in range(1_200) for who in [actors[at % 4]]],
        )
    team.server.start()
    seen: list[str] = []
    address = "/ui/audit?user=anna"
    while address:
        page = team.get("root", address).text
        seen += re.findall(r'<tr id="entry-(\d+)"', page)
        older = re.search(r'rel="next" href="([^"]+)"', page)
        address = older[1].replace("&amp;", "&") if older is not None else ""
    assert len(seen) == len(set(seen)) == 600
    assert seen == sorted(seen, key=int, reverse=True)
    assert {entry["actor"] for entry in team.get("root", "/audit?user=a_na&limit=200").json} == {"a_na"}
    whole = team.get("root", "/ui/audit?before=nonsense").text
    assert whole.count('<tr id="entry-') == 100
    assert "No entries match" in team.get("root", "/ui/audit?user=nobody%00").text
