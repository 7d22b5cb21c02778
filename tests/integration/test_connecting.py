"""A repository is connected to its forge, by a command and by its page, up to a push that builds."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.support.deliveries import headers_of, push_body
from tests.support.forges import TOKEN, Gitea, running
from tests.support.git_server import git_server
from tests.support.repos import Repo
from tests.support.repositories import definition, events, handled
from tests.support.server import Server


async def test_a_repository_is_connected_by_a_command_and_by_its_page(
    new_server: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with git_server(tmp_path) as git:
        monkeypatch.setenv("GIT_SSL_NO_VERIFY", "1")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
        server = new_server(executor="process", source_hosts="127.0.0.1").start()
        async with running(Gitea()) as forge:
            git.api = forge.url
            # The server of the forge answers on this loop.
            await asyncio.to_thread(_connect, server, forge, git.url("team/app.git"), tmp_path)


def _connect(server: Server, forge: Gitea, url: str, folder: Path) -> None:
    work = Repo(folder / "work")
    work.commit({".rapidflow.yml": definition()})
    bare = folder / "team" / "app.git"
    subprocess.run(["git", "clone", "-q", "--bare", str(work.path), str(bare)], check=True)
    refused = server.command("connect", url, "--forge", "gitea", "--token", "wrong")
    assert refused.returncode != 0 and "rejected the token" in refused.stderr
    done = server.command("connect", url, "--token", TOKEN)
    assert done.returncode == 0, done.stderr
    (added,) = server.get("/repositories").json
    (hook,) = forge.hooks.values()
    assert hook["config"]["url"] == added["hook_url"] and added["hook_url"] in done.stdout
    assert added["connected"] and " yes " in server.command("repositories").stdout
    # Done again there is still one.
    assert server.command("connect", url).returncode == 0
    assert len(forge.hooks) == 1
    commit = work.commit({"a": "b"})
    work.git("push", "-q", str(bare), "main")
    (hook,) = forge.hooks.values()
    body = json.dumps(push_body("gitea", "refs/heads/main", None, commit)).encode()
    path = hook["config"]["url"].removeprefix(server.url)
    told = server.request("POST", path, body, headers_of("gitea", body, hook["config"]["secret"], "one"))
    assert told.status == 202, told.text
    handled(server, told.json["delivery"])
    (decision,) = events(server, added["id"])[0]["decisions"]
    assert server.wait_finished(decision["job_id"])["job"]["status"] == "success"
    # And by the page, where somebody has removed the webhook at the forge.
    forge.hooks.clear()
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    page = f"/ui/repositories/{added['id']}"
    wrong = server.request("POST", f"{page}/connect", urlencode({"token": "wrong"}), form)
    assert wrong.status == 400 and "rejected the token" in wrong.text
    assert forge.hooks == {}
    answer = server.request("POST", f"{page}/connect", urlencode({"token": TOKEN}), form)
    assert answer.status == 303, answer.text
    assert "Webhook created" in server.get(answer.headers["location"]).text
    assert [one["config"]["url"] for one in forge.hooks.values()] == [added["hook_url"]]
