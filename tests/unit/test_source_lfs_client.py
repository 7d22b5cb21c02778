"""Files in Git LFS from a real server: with the credentials of git, and from nowhere in this network."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from rapidflow_web.errors import BuildError
from rapidflow_web.pipeline.clone_credentials import Login
from rapidflow_web.source.git import GitError, GitOptions
from rapidflow_web.source.lfs_client import LfsObject, download
from rapidflow_web.source.mirrors import NOBODY, Account, Mirrors
from rapidflow_web.source.workspace import check_out
from tests.support.git_server import GitServer, git_server
from tests.support.repos import Repo
from tests.support.sources import assert_not_contacted, read

CLEAN = "filter.lfs.process=git-lfs filter-process"
CONTENTS = [f"large {number}\n".encode() * 1000 for number in range(3)]
PRIVATE = "is in a private network or on this machine"


@pytest.fixture
def https(origin: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GitServer]:
    """A server of the origin, which has files in LFS."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_SSL_NO_VERIFY", "1")
    origin.git("config", "filter.lfs.clean", "git-lfs clean -- %f")
    files: dict[str, str | bytes] = {f"{number}.bin": content for number, content in enumerate(CONTENTS)}
    origin.commit({".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n", **files})
    with git_server(tmp_path / "repos") as served:
        served.objects = {hashlib.sha256(content).hexdigest(): content for content in CONTENTS}
        yield served


async def checked_out(
    https: GitServer, mirrors: Mirrors, workspace: Path, account: Account = NOBODY, user: str = ""
) -> list[str]:
    url = https.url("origin").replace("://", f"://{user}")
    return await check_out(await mirrors.fetch(url, "main", account=account), workspace, mirrors)


def assert_fetched(workspace: Path) -> None:
    assert [(workspace / f"{number}.bin").read_bytes() for number in range(len(CONTENTS))] == CONTENTS
    assert read(workspace, "-c", CLEAN, "status", "--porcelain") == ""


async def failure(https: GitServer, mirrors: Mirrors, workspace: Path) -> str:
    with pytest.raises(BuildError, match=r"^could not fetch the Git LFS files: ") as error:
        await checked_out(https, mirrors, workspace)
    return str(error.value)


async def test_files_are_downloaded_once(
    https: GitServer, mirrors: Mirrors, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("rapidflow_web.source.lfs_client._BATCH", 2)
    assert await checked_out(https, mirrors, workspace) == []
    assert_fetched(workspace)
    https.objects.clear()
    assert await checked_out(https, mirrors, tmp_path / "work" / "again") == []
    assert_fetched(tmp_path / "work" / "again")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
async def test_no_file_is_downloaded_from_this_machine(
    https: GitServer, mirrors: Mirrors, workspace: Path, listener: socket.socket, host: str
):
    https.downloads = f"https://{host}:{listener.getsockname()[1]}"
    assert PRIVATE in await failure(https, mirrors, workspace)
    assert_not_contacted(listener)


async def test_no_file_is_downloaded_without_tls(
    https: GitServer, mirrors: Mirrors, workspace: Path, listener: socket.socket
):
    https.downloads = f"http://127.0.0.1:{listener.getsockname()[1]}"
    assert "leads to a URL that is not https" in await failure(https, mirrors, workspace)
    assert_not_contacted(listener)


@pytest.mark.parametrize("what", ["batch", "download"])
async def test_no_redirect_leads_into_the_network_of_the_server(
    https: GitServer, origin: Repo, mirrors: Mirrors, workspace: Path, listener: socket.socket, what: str
):
    https.elsewhere = f"https://127.0.0.1:{listener.getsockname()[1]}"
    if what == "batch":
        origin.commit({".lfsconfig": f"[lfs]\n\turl = https://{https.host}/elsewhere/x\n"})
    else:
        https.downloads = f"https://{https.host}/elsewhere"
    assert PRIVATE in await failure(https, mirrors, workspace)
    assert_not_contacted(listener)


@pytest.mark.parametrize("user", ["", "anna@"])
@pytest.mark.parametrize("kept", ["netrc", "store", "header", "pipeline"])
async def test_the_server_of_the_repository_gets_the_credentials_of_git(
    https: GitServer, mirrors: Mirrors, workspace: Path, tmp_path: Path, kept: str, user: str
):
    https.passwords = {"anna": "secret"}
    login = None
    if kept == "netrc":
        (tmp_path / ".netrc").write_text("machine 127.0.0.1 login anna password secret\n")
    elif kept == "store":
        (tmp_path / ".git-credentials").write_text(f"https://anna:secret@{https.host}\n")
        (tmp_path / ".gitconfig").write_text("[credential]\n\thelper = store\n")
    elif kept == "header":
        (tmp_path / ".gitconfig").write_text(
            f'[http "https://{https.host}/"]\n\textraHeader = Authorization: Basic YW5uYTpzZWNyZXQ=\n'
        )
    else:
        login = Login(f"https://{https.host}", "anna", "secret")
    await checked_out(https, mirrors, workspace, Account(1, login), user)
    assert_fetched(workspace)


async def test_another_server_gets_no_credentials(
    https: GitServer, tmp_path: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch
):
    https.passwords = {"anna": "secret"}
    (tmp_path / ".netrc").write_text("default login anna password secret\n")
    other = tmp_path / "other"
    other.mkdir()
    (tmp_path / "mirrors").mkdir()
    with git_server(other) as elsewhere:
        elsewhere.objects = https.objects
        https.downloads = f"https://{elsewhere.host}/download"
        mirrors = Mirrors(tmp_path / "mirrors", [], 30, [elsewhere.host])
        await checked_out(https, mirrors, workspace)
        assert_fetched(workspace)
        assert elsewhere.asked and {login for _, login in elsewhere.asked} == {None}


@pytest.mark.parametrize("wrong", [b"", b"short", CONTENTS[0] + b"more", CONTENTS[0][:-1] + b"x"])
async def test_a_file_with_other_contents_is_not_taken(
    https: GitServer, mirrors: Mirrors, workspace: Path, tmp_path: Path, wrong: bytes
):
    https.objects[hashlib.sha256(CONTENTS[0]).hexdigest()] = wrong
    assert "what was downloaded is not the object" in await failure(https, mirrors, workspace)
    assert not list((tmp_path / "mirrors").rglob("tmp_*"))


async def test_a_file_that_the_server_does_not_have_is_told(
    https: GitServer, mirrors: Mirrors, workspace: Path
):
    https.objects.clear()
    assert "missing object" in await failure(https, mirrors, workspace)


async def test_files_that_are_configured_to_stay_pointers_do(
    https: GitServer, origin: Repo, mirrors: Mirrors, workspace: Path
):
    origin.commit({".lfsconfig": "[lfs]\n\tfetchinclude = /*.bin\n\tfetchexclude = 1.*, none\n"})
    await checked_out(https, mirrors, workspace)
    assert (workspace / "0.bin").read_bytes() == CONTENTS[0]
    assert (workspace / "1.bin").read_text().startswith("version https://git-lfs")


async def test_an_ssh_server_says_where_the_files_are(
    https: GitServer, origin: Repo, tmp_path: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch
):
    # In the place of ssh, a program that says what it would be called with, and runs that here.
    (tmp_path / "mirrors").mkdir()
    answer = json.dumps({"href": f"https://{https.host}/origin/info/lfs", "header": {"Authorization": "X 1"}})
    program = tmp_path / "connect"
    program.write_text(
        f"""#!/bin/sh
echo "$@" >>{tmp_path}/called
for last; do :; done
case $last in git-lfs-authenticate*) echo '{answer}';; *) cd /; eval "$last";; esac
"""
    )
    program.chmod(0o755)
    monkeypatch.setenv("GIT_SSH_COMMAND", str(program))
    monkeypatch.setenv("GIT_SSH_VARIANT", "ssh")
    mirrors = Mirrors(tmp_path / "mirrors", [], 30, [https.host])
    source = await mirrors.fetch(f"ssh://git@git.example.org:2222{origin.path}", "main")
    assert await check_out(source, workspace, mirrors) == []
    assert_fetched(workspace)
    called = (tmp_path / "called").read_text().splitlines()[-1]
    assert called == f"-p 2222 git@git.example.org git-lfs-authenticate {origin.path} download"


async def refusal(tmp_path: Path, proxy: str) -> str:
    """Why a download through `proxy` fails."""
    wanted = [LfsObject("0" * 64, 1)]
    options = GitOptions(settings=(("http.proxy", proxy),))
    with pytest.raises(GitError) as error:
        await download("https://lfs.example/x", wanted, tmp_path, tmp_path, options, {})
    return str(error.value)


async def test_the_password_of_a_proxy_that_refuses_is_not_told(tmp_path: Path):
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as proxy:
        port = proxy.sockets[0].getsockname()[1]
        told = await refusal(tmp_path, f"http://anna:secret@127.0.0.1:{port}")
    assert "403" in told and "secret" not in told


async def test_certificates_that_are_not_there_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GIT_SSL_CAINFO", str(tmp_path / "none.pem"))
    assert await refusal(tmp_path, "http://127.0.0.1:1") == (
        "the certificates of git's configuration can't be read: No such file or directory"
    )
