"""Users and the audit log, over HTTP, on a real server."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.support.repos import Repo
from tests.support.server import Answer, Server, wait_for
from tests.support.users import PASSWORD, add_user, as_, session_of, token_of
from tests.support.world import FORM, JSON, World, stored


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


@pytest.mark.parametrize("login", ["users", "proxy"])
def test_the_last_administrator_who_can_log_in_stays(new_server: Callable[..., Server], login: str) -> None:
    server = new_server(executor="process")
    for name, no_password in (("root", ()), ("robot", ("--no-password",))):
        done = server.command("user", "add", name, "--role", "admin", *no_password, input=f"{PASSWORD}\n")
        assert done.returncode == 0
    robot = as_(token_of(server, "robot"))
    server.set(login=login, proxy_header="Remote-User", proxy_addresses="127.0.0.1")
    server.start()
    for method, fields in (("PUT", {"role": "viewer"}), ("DELETE", None)):
        body = json.dumps(fields) if fields is not None else None
        answer = server.request(method, "/users/1", body, {**JSON, **robot})
        assert answer.status == (400 if login == "users" else 200)
        assert ("the last administrator who can log in" in answer.text) == (login == "users")
    # One who can't log in anyway may go.
    last = server.request("DELETE", "/users/2", None, robot)
    assert last.status == 200, last.text


def test_the_audit_log_is_kept_for_a_year(new_server: Callable[..., Server]) -> None:
    server = new_server(executor="process").start()
    for name in ("old", "young"):
        server.pipeline({"name": name, "steps": ["true"]})
    server.stop()
    server.sql("UPDATE deed SET at = at - 366 * 86400000 WHERE id = 1")
    server.sql("UPDATE deed SET at = at - 364 * 86400000 WHERE id = 2")
    server.start()
    assert [entry["id"] for entry in server.get("/audit").json] == [2, 1]
    assert server.post("/prune").status == 200
    assert [entry["id"] for entry in server.get("/audit").json] == [3, 2]


def test_the_audit_log_tells_who_did_what(world: World) -> None:
    assert world.ask("POST", f"/jobs/{world.job}/retry", "viewer").status == 403
    retried = world.ask("POST", f"/jobs/{world.job}/retry", "builder")
    assert retried.status == 201
    path = retried.headers["location"]
    wait_for(lambda: world.ask("GET", path, "viewer").json["finished_at"], "the retry has ended")
    assert world.ask("GET", "/jobs", "builder").status == 200
    entries = world.ask("GET", "/audit?limit=2", "admin").json
    assert [(entry["actor"], entry["action"], entry["target"], entry["status"]) for entry in entries] == [
        ("builder (token for a test)", "jobs.retry_job", f"/jobs/{world.job}/retry", 201),
        ("viewer (token for a test)", "jobs.retry_job", f"/jobs/{world.job}/retry", 403),
    ]
    assert entries[0]["address"] == "127.0.0.1"
    again = world.ask("GET", "/jobs?limit=1", "admin").json[0]
    assert again["started_by"] == "builder"
    commands = [
        entry for entry in world.ask("GET", "/audit?limit=200", "admin").json if entry["action"] == "user add"
    ]
    assert len(commands) == 3 and "(command line)" in commands[0]["actor"]


def test_the_audit_log_says_what_was_made_given_approved_and_deleted(
    new_server: Callable[..., Server], repo: Repo
) -> None:
    server = new_server(executor="process", file_roots=str(repo.path.parent)).start()
    add_user(server, "root", "admin")
    server.headers = as_(token_of(server, "root"))

    def send(method: str, path: str, **fields: Any) -> Any:
        answer = server.request(method, path, json.dumps(fields), JSON)
        assert answer.status in (200, 201), answer.text
        return answer.json

    def post(path: str, **fields: str) -> None:
        assert server.request("POST", path, urlencode(fields), FORM).status == 303

    anna = send("POST", "/users", name="anna", role="builder", password=PASSWORD)["id"]
    send("PUT", f"/users/{anna}", role="admin")
    send("PUT", f"/users/{anna}", role="viewer", password=PASSWORD)
    post(f"/ui/users/{anna}/role", role="builder")
    post(f"/ui/users/{anna}/password", password=PASSWORD)
    server.command("user", "set", "anna", "--role", "admin")
    jobs = {"ship": {"approval": True, "steps": ["true"]}, "tell": {"approval": True, "steps": ["true"]}}
    first = send("POST", "/pipelines", config=json.dumps({"name": "first", "jobs": jobs}))["id"]
    hidden = {"restricted": True, "users": ["anna"]}
    steps = json.dumps({"name": "second", "steps": ["true"]})
    second = send("POST", "/pipelines", config=steps, visibility=hidden)["id"]
    job = send("POST", f"/pipelines/{first}/jobs")["id"]
    wait_for(
        lambda: server.details(job)["steps"][1]["part"]["state"] == "waits_for_approval", "both jobs wait"
    )
    send("POST", f"/jobs/{job}/approve", part="ship")
    post(f"/ui/jobs/{job}/reject", part="tell")
    send("DELETE", f"/pipelines/{first}")
    post(f"/ui/pipelines/{second}/delete")
    repo.commit({".rapidflow.yml": "name: ci\nsteps: ['true']\n"})
    added = send("POST", "/repositories", url=repo.url)["id"]
    send("DELETE", f"/repositories/{added}")
    entries = server.get("/audit?limit=200").json[::-1]
    assert [entry["target"] for entry in entries if entry["action"] != "token add"] == [
        "root: admin",
        "/users (anna: builder)",
        f"/users/{anna} (anna: admin)",
        f"/users/{anna} (anna: viewer, new password)",
        f"/ui/users/{anna}/role (anna: builder)",
        f"/ui/users/{anna}/password (anna: new password)",
        "anna: admin",
        f"/pipelines ({first} first)",
        f"/pipelines ({second} second: anna only)",
        f"/pipelines/{first}/jobs",
        f"/jobs/{job}/approve (ship)",
        f"/ui/jobs/{job}/reject (tell)",
        f"/pipelines/{first} (first)",
        f"/ui/pipelines/{second}/delete (second)",
        f"/repositories ({repo.url})",
        f"/repositories/{added} ({repo.url})",
    ]
