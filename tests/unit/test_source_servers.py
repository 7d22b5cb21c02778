"""Which servers are contacted for the source of a build, and which get credentials, with the real git."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import socketserver
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rapidflow_web.errors import BuildError
from rapidflow_web.pipeline.clone_credentials import Login
from rapidflow_web.pipeline.repositories import check_url
from rapidflow_web.source.git import GitError, GitOptions, git
from rapidflow_web.source.mirrors import Mirrors
from rapidflow_web.source.remote import Remote, remote_for
from rapidflow_web.source.servers import Allowed, Server, is_public, judged, server_of
from rapidflow_web.source.workspace import check_out
from tests.support.git_daemon import GitDaemon
from tests.support.git_server import GitServer, git_server
from tests.support.repos import Repo
from tests.support.sources import assert_not_contacted, names, refusal

PRIVATE = "is in a private network or on this machine"


@pytest.fixture
def library(tmp_path: Path) -> Repo:
    """A repository that becomes a submodule."""
    repo = Repo(tmp_path / "repos" / "library")
    repo.commit({"version": "1"})
    return repo


@pytest.fixture
def https(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GitServer]:
    """A server of the folder with the repositories, which wants the password that the server's user has."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_SSL_NO_VERIFY", "1")
    (tmp_path / "repos").mkdir(exist_ok=True)
    with git_server(tmp_path / "repos") as served:
        for host in (served.host, served.host.replace("127.0.0.1", "localhost")):
            with (home / ".git-credentials").open("a") as file:
                file.write(f"https://anna:secret@{host}\n")
        (home / ".netrc").write_text("default login netrc password secret\n")
        (home / ".gitconfig").write_text(
            "[credential]\n\thelper = store\n[http]\n\textraHeader = Authorization: Basic YW5uYTpzZWNyZXQ=\n"
        )
        yield served


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[str]:
    """A `git://` server of the folder with the repositories; its host and port."""
    (tmp_path / "repos").mkdir(exist_ok=True)
    served = GitDaemon(tmp_path / "repos").start()
    yield served.address
    served.stop()


def mirrors_with(folder: Path, allowed: Allowed = ()) -> Mirrors:
    """Mirrors whose administrator allows these servers."""
    (folder / "mirrors").mkdir(exist_ok=True)
    return Mirrors(folder / "mirrors", [str(folder / "repos")], 30, allowed)


def add(repo: Repo, url: str, commit: str) -> None:
    """Adds a submodule."""
    repo.git("config", "--file", ".gitmodules", "submodule.sub.path", "sub")
    repo.git("config", "--file", ".gitmodules", "submodule.sub.url", url)
    repo.git("update-index", "--add", "--cacheinfo", f"160000,{commit},sub")
    repo.git("add", ".gitmodules")
    repo.git("commit", "--quiet", "--message", "add a submodule")


async def refused(mirrors: Mirrors, url: str, workspace: Path) -> str:
    """Why the submodule `sub` of a repository can't be had."""
    source = await mirrors.fetch(url, "main")
    with pytest.raises(BuildError) as error:
        await check_out(source, workspace, mirrors)
    begin, _, rest = str(error.value).partition("the submodule 'sub': could not fetch the source: ")
    assert begin == ""
    return rest


@pytest.mark.parametrize("scheme", ["git", "https"])
@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "LOCALHOST.", "127.1", "2130706433", "0x7f000001", "0.0.0.0", "[::1]",
        "[::ffff:127.0.0.1]", "169.254.169.254", "10.0.0.1", "192.168.0.1", "100.64.0.1", "[fd00::1]",
    ],
)  # fmt: skip
async def test_a_submodule_does_not_lead_into_the_network_of_the_server(
    origin: Repo, mirrors: Mirrors, workspace: Path, listener: socket.socket, scheme: str, host: str
):
    add(origin, f"{scheme}://{host}:{listener.getsockname()[1]}/x", "1" * 40)
    assert PRIVATE in await refused(mirrors, origin.url, workspace)
    assert_not_contacted(listener)


async def test_a_remote_repository_has_no_submodules_on_this_machine(
    origin: Repo, library: Repo, daemon: str, tmp_path: Path, workspace: Path
):
    mirrors = mirrors_with(tmp_path)
    add(origin, library.url, library.git("rev-parse", "HEAD"))
    reason = await refused(mirrors, f"git://{daemon}/origin", workspace)
    assert reason == "only a file:// repository may have submodules by file://"


async def test_the_server_of_the_repository_may_be_private(
    origin: Repo, library: Repo, daemon: str, tmp_path: Path, workspace: Path
):
    mirrors = mirrors_with(tmp_path)
    add(origin, "../library", library.git("rev-parse", "HEAD"))
    await check_out(await mirrors.fetch(f"git://{daemon}/origin", "main"), workspace, mirrors)
    assert (workspace / "sub" / "version").read_text() == "1"


async def test_another_port_of_the_server_of_the_repository_is_another_server(
    origin: Repo, daemon: str, tmp_path: Path, workspace: Path, listener: socket.socket
):
    add(origin, f"git://127.0.0.1:{listener.getsockname()[1]}/x", "1" * 40)
    assert PRIVATE in await refused(mirrors_with(tmp_path), f"git://{daemon}/origin", workspace)
    assert_not_contacted(listener)


@pytest.mark.parametrize("how", ["localhost", "localhost:{port}", "network"])
async def test_the_administrator_can_allow_servers_of_the_own_network(
    origin: Repo, library: Repo, daemon: str, tmp_path: Path, workspace: Path, how: str
):
    port = daemon.partition(":")[2]
    allowed = (
        [ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1")]
        if how == "network"
        else [how.format(port=port)]
    )
    add(origin, f"git://localhost:{port}/library", library.git("rev-parse", "HEAD"))
    mirrors = mirrors_with(tmp_path, allowed)
    if how == "network":
        # By a name it is contacted at the address that was judged, which is ::1 where there is one.
        add(origin, f"git://{daemon}/library", library.git("rev-parse", "HEAD"))
    await check_out(await mirrors.fetch(origin.url), workspace, mirrors)
    assert (workspace / "sub" / "version").read_text() == "1"


@pytest.fixture
def talker() -> Iterator[str]:
    """The host and port of a service that is no git server and says something to whoever connects."""

    class Talker(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1000)  # else git finds the connection broken before it has read anything
            self.request.sendall(b"SECRET of this machine")

    with socketserver.TCPServer(("127.0.0.1", 0), Talker) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


async def test_what_another_service_answers_is_in_no_error(
    origin: Repo, tmp_path: Path, workspace: Path, talker: str
):
    add(origin, f"git://{talker}/x", "1" * 40)
    reason = await refused(mirrors_with(tmp_path, [talker]), origin.url, workspace)
    assert "SECR" not in reason and "did not answer like git" in reason


@pytest.fixture
def resetter() -> Iterator[Server]:
    """A service that resets each connection once something came."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1)
            self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            # Without a shutdown before it, this resets the connection.
            self.request.close()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Server("https", "127.0.0.1", server.server_address[1])
        server.shutdown()


async def test_git_hears_of_a_connection_that_its_server_reset(resetter: Server, tmp_path: Path):
    remote = Remote(f"https://{resetter}/x", resetter)

    async def ask(options: GitOptions) -> str:
        return await git("ls-remote", remote.url, cwd=tmp_path, options=options)

    async with asyncio.timeout(60):
        with pytest.raises(GitError, match="unable to access"):
            await remote.contact(tmp_path, ask)


@pytest.mark.parametrize("divider", ["?", "#"])
def test_a_url_has_one_host_for_git_and_for_its_check(divider: str):
    with pytest.raises(ValueError, match="must name a host"):
        check_url(f"ssh://example.com{divider}@127.0.0.1/x", [])


async def test_ssh_keys_are_for_the_host_of_the_repository_alone(
    origin: Repo, mirrors: Mirrors, workspace: Path
):
    add(origin, "git@git.example.org:team/x", "1" * 40)
    reason = await refused(mirrors, origin.url, workspace)
    assert reason.startswith("git.example.org is not the host of the repository that names it, so no ssh key")
    assert "write its URL with https://" in reason and "RAPIDFLOW_SOURCE_HOSTS" in reason


PARENT = Remote("https://git.example.org/team/x", Server("https", "git.example.org", 443))


@pytest.mark.parametrize(
    ("url", "allowed", "trusted", "credentials"),
    [
        ("https://git.example.org/y", (), True, True),
        ("https://GIT.example.org:443/y", (), True, True),
        ("https://git.example.org:8443/y", (), False, True),
        ("git@git.example.org:y", (), False, True),
        ("https://example.org/y", (), False, False),
        ("https://git.example.org.evil.example/y", (), False, False),
        ("https://git.example.org@evil.example/y", (), False, False),
        ("https://10.0.0.1/y", ["10.0.0.1:443"], True, True),
        ("https://10.0.0.1/y", [ipaddress.ip_network("10.0.0.0/8")], True, True),
        ("https://other.example/y", ["other.example:8443"], False, False),
        ("git@other.example:y", ["other.example"], True, True),
    ],
)
def test_credentials_are_for_the_host_that_names_the_submodule(
    url: str, allowed: Allowed, trusted: bool, credentials: bool
):
    remote = remote_for(url, PARENT, None, allowed)
    assert (remote.trusted, remote.credentials, remote.own) == (trusted, credentials, False)


async def test_without_credentials_nothing_of_the_servers_user_is_sent(
    origin: Repo, https: GitServer, tmp_path: Path
):
    origin.commit({"a": "1"})
    https.passwords = {"anna": "secret"}
    server = server_of(https.url("origin"))
    remote = Remote(https.url("origin"), server, credentials=False)

    async def listing(options: GitOptions) -> str:
        return await git("ls-remote", remote.url, cwd=tmp_path, options=options)

    with pytest.raises(GitError, match="could not read Username"):
        await remote.contact(tmp_path, listing)
    assert https.asked and {login for _, login in https.asked} == {None}
    trusted = Remote(https.url("origin"), server)
    assert "refs/heads/main" in await trusted.contact(tmp_path, listing)


async def test_what_was_fetched_with_credentials_is_not_read_without(
    origin: Repo, https: GitServer, tmp_path: Path
):
    commit = origin.commit({"a": "1"})
    mirrors = mirrors_with(tmp_path)
    within = await mirrors.fetch(origin.url)
    await mirrors.fetch(https.url("origin"), "main")
    assert len(names(tmp_path / "mirrors")) == 2
    with pytest.raises(BuildError, match=PRIVATE):
        await mirrors.fetch(https.url("origin"), commit=commit, within=within)


async def test_a_redirect_does_not_lead_into_the_network_of_the_server(
    https: GitServer, tmp_path: Path, listener: socket.socket
):
    https.elsewhere = f"https://127.0.0.1:{listener.getsockname()[1]}"
    reason = await refusal(mirrors_with(tmp_path), https.url("elsewhere/x"), branch="main")
    assert "unable to access" in reason and PRIVATE in reason
    assert_not_contacted(listener)


async def test_a_redirect_to_an_allowed_server_is_followed_without_credentials(
    origin: Repo, https: GitServer, tmp_path: Path
):
    commit = origin.commit({"a": "1"})
    https.elsewhere = https.url("").replace("127.0.0.1", "localhost").rstrip("/")
    mirrors = mirrors_with(tmp_path, ["localhost"])
    assert (await mirrors.fetch(https.url("elsewhere/origin"), "main")).commit == commit
    https.passwords = {"anna": "secret"}
    https.asked.clear()
    await refusal(mirrors, https.url("elsewhere/origin"), branch="main")
    assert {login for path, login in https.asked if not path.startswith("/elsewhere")} == {None}


async def test_a_redirect_on_the_same_server_is_followed(origin: Repo, https: GitServer, tmp_path: Path):
    commit = origin.commit({"a": "1"})
    https.elsewhere = https.url("").rstrip("/")
    https.passwords = {"anna": "secret"}
    source = await mirrors_with(tmp_path).fetch(https.url("elsewhere/origin"), "main")
    assert source.commit == commit


async def test_a_login_of_the_pipeline_is_sent_through_the_gateway(
    origin: Repo, https: GitServer, tmp_path: Path
):
    origin.commit({"a": "1"})
    https.passwords = {"berta": "other"}
    login = Login(f"https://{https.host}", "berta", "other")
    remote = Remote(https.url("origin"), server_of(https.url("origin")), credentials=False, login=login)
    assert await remote.contact(
        tmp_path, lambda options: git("ls-remote", remote.url, cwd=tmp_path, options=options)
    )


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1", "fe80::1",
        "fd00::1", "fec0::1", "ff02::1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::",
        "2001:db8::1",
    ],
)  # fmt: skip
def test_an_address_of_a_private_network_is_not_public(address: str):
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["1.1.1.1", "140.82.121.4", "2606:4700::1111", "::ffff:1.1.1.1"])
def test_an_address_of_the_internet_is_public(address: str):
    assert is_public(ipaddress.ip_address(address))


async def test_one_private_address_of_several_is_enough_to_refuse(monkeypatch: pytest.MonkeyPatch):
    def resolved(*_: object, **__: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, 443)) for one in ("1.1.1.1", "10.0.0.1")]

    # Names on the internet can't be had in a test.
    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    with pytest.raises(ValueError, match=PRIVATE):
        await judged(Server("https", "both.example", 443), ())
    assert await judged(Server("https", "both.example", 443), ["both.example"])
