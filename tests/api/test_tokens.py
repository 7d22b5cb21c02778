"""What tokens can do and when they end, over HTTP, on a real server."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from tests.support.server import Server, wait_for
from tests.support.users import PASSWORD, add_user, as_, session_of, token_of
from tests.support.world import JSON, World, stored


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
