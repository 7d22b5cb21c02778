"""The source of a build: files, passwords, and whose configuration counts."""

from __future__ import annotations

import http.server
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rapidflow_web.source.git import without_credentials
from rapidflow_web.source.mirrors import Mirrors, Source
from rapidflow_web.source.workspace import check_out
from tests.support.certificates import make_certificate
from tests.support.repos import Repo
from tests.support.sources import names, read, refusal


@pytest.mark.parametrize(
    "url",
    [
        "-oProxyCommand=id",
        "--upload-pack=id",
        "ext::sh -c id",
        "ext::id",
        "http://host/repo",
        "/etc",
        "file:///etc",
    ],
)
async def test_what_was_checked_once_is_checked_again(tmp_path: Path, mirrors: Mirrors, url: str):
    assert await refusal(mirrors, url)
    assert names(tmp_path / "mirrors") == []


async def test_a_file_may_not_lead_out_of_its_root_by_a_link(tmp_path: Path, origin: Repo, mirrors: Mirrors):
    outside = Repo(tmp_path / "outside")
    outside.commit({"secret": "1"})
    (tmp_path / "repos" / "link").symlink_to(tmp_path)
    for path in ("link/outside", "origin/../link/outside", "link%2foutside", "%6cink/outside/.git"):
        reason = await refusal(mirrors, f"file://{tmp_path}/repos/{path}")
        assert f"the repository '{tmp_path}/outside" in reason
        assert "is not below an allowed folder" in reason


async def test_a_root_may_be_a_link_itself(tmp_path: Path, origin: Repo):
    commit = origin.commit({"a": "1"})
    (tmp_path / "mirrors").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "repos")
    mirrors = Mirrors(tmp_path / "mirrors", [str(tmp_path / "link")], timeout=30)
    assert (await mirrors.fetch(f"file://{tmp_path}/link/origin")).commit == commit


@pytest.mark.parametrize("name", ["a b", "%2e%2e", "ümlaut", "100%", "a'b\"c$(id)"])
async def test_a_file_may_have_any_name(tmp_path: Path, mirrors: Mirrors, workspace: Path, name: str):
    repo = Repo(tmp_path / "repos" / name)
    commit = repo.commit({"a": "1"})
    quoted = name.replace("%", "%25").replace(" ", "%20")
    source = await mirrors.fetch(f"file://{tmp_path}/repos/{quoted}")
    assert source.commit == commit
    await check_out(source, workspace, mirrors)
    assert (workspace / "a").read_text() == "1"


URL = "https://user:s3cret%40x@127.0.0.1:9/team/repo.git"


async def test_a_password_is_in_no_message_and_no_name(tmp_path: Path, mirrors: Mirrors):
    reason = await refusal(mirrors, URL, branch="main")
    assert "https://127.0.0.1:9/team/repo.git" in reason
    assert "s3cret" not in reason and "user" not in reason
    (name,) = names(tmp_path / "mirrors")
    assert name.startswith("127.0.0.1-9-team-repo.git-")


async def test_a_password_is_not_in_the_workspace(origin: Repo, mirrors: Mirrors, workspace: Path):
    origin.commit({"a": "1"})
    source = await mirrors.fetch(origin.url)
    await check_out(Source(source.mirror, URL, source.commit, "main"), workspace, mirrors)
    assert read(workspace, "remote", "get-url", "origin") == "https://127.0.0.1:9/team/repo.git"
    for path in (workspace / ".git").rglob("*"):
        assert path.is_dir() or b"s3cret" not in path.read_bytes()


@pytest.mark.parametrize(
    ("text", "public"),
    [
        ("fatal: 'https://user:pass@host/x' not found", "fatal: 'https://host/x' not found"),
        ("https://token@host/x", "https://host/x"),
        ("https://u:p@ss@host/x y@z", "https://host/x y@z"),
        ("ssh://git@host:22/x and git@host:x", "ssh://host:22/x and git@host:x"),
        ("https://host/x@y", "https://host/x@y"),
    ],
)
def test_credentials_are_taken_out_of_urls(text: str, public: str):
    assert without_credentials(text) == public


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[int]:
    """The port of a web server that wants a password for everything."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make_certificate(key, certificate)

    class Locked(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="locked"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Locked) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


async def test_nobody_is_asked_for_a_password(
    mirrors: Mirrors, tmp_path: Path, locked: int, monkeypatch: pytest.MonkeyPatch
):
    asked = tmp_path / "asked"
    askpass = tmp_path / "askpass"
    askpass.write_text(f"#!/bin/sh\necho asked >> {asked}\necho secret\n")
    askpass.chmod(0o755)
    for name, value in {
        "GIT_ASKPASS": str(askpass), "SSH_ASKPASS": str(askpass), "DISPLAY": ":0", "GIT_SSL_NO_VERIFY": "1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    said = await refusal(mirrors, f"https://127.0.0.1:{locked}/repo", branch="main")
    assert "could not read Username for 'https://127.0.0.1:" in said
    assert said.endswith("into 'repo_name', as in https://user:password@host/path")
    assert not asked.exists()


async def test_the_configuration_of_the_servers_user_counts(
    mirrors: Mirrors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    config = tmp_path / "gitconfig"
    config.write_text('[core]\n\tsshCommand = "echo my ssh >&2; false"\n')
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.delenv("GIT_SSH_COMMAND", raising=False)
    assert "my ssh" in await refusal(mirrors, "git@127.0.0.1:repo", branch="main")


async def test_variables_that_a_hook_gave_to_the_server_do_no_harm(
    origin: Repo, mirrors: Mirrors, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    commit = origin.commit({"a": "1"})
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_NAMESPACE"):
        monkeypatch.setenv(name, str(tmp_path / "elsewhere"))
    source = await mirrors.fetch(origin.url)
    await check_out(source, workspace, mirrors)
    assert source.commit == commit
    assert not (tmp_path / "elsewhere").exists()
