"""Whatever is configured for git, the server decides to where it connects, with the real git."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from rapidflow_web.source.egress_proxy import EgressProxy
from rapidflow_web.source.git import GitError, git
from rapidflow_web.source.mirrors import Mirrors
from rapidflow_web.source.remote import Remote
from rapidflow_web.source.servers import server_of
from tests.support.git_server import GitServer, git_server
from tests.support.repos import Repo
from tests.support.sources import assert_not_contacted, refusal

NOBODY_LISTENS = "http://127.0.0.1:9"
PRIVATE = "is in a private network or on this machine"


@pytest.fixture
def https(origin: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GitServer]:
    """A server of the origin, which redirects what is elsewhere to nowhere yet."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_SSL_NO_VERIFY", "1")
    origin.commit({"a": "1"})
    with git_server(tmp_path / "repos") as served:
        yield served


def configure(folder: Path, text: str) -> None:
    """Writes the configuration of the server's user."""
    (folder / ".gitconfig").write_text(text)


@pytest.mark.parametrize(
    ("configured", "variables"),
    [
        ("", {}),
        ('[http "https://{host}"]\n\tproxy =\n', {}),
        ('[http "https://{host}/elsewhere/x"]\n\tproxy = ""\n', {}),
        ('[http "https://{host}"]\n\tproxy =\n', {"https_proxy": NOBODY_LISTENS}),
        ('[remote "origin"]\n\tproxy =\n', {}),
        ('[http]\n\tproxy =\n[remote "origin"]\n\tproxyAuthMethod = digest\n', {"ALL_PROXY": NOBODY_LISTENS}),
        ("", {"https_proxy": "", "ALL_PROXY": NOBODY_LISTENS}),
        ("", {"https_proxy": NOBODY_LISTENS, "no_proxy": "example.org, 127.0.0.1"}),
        ("", {"HTTPS_PROXY": NOBODY_LISTENS, "NO_PROXY": "*"}),
        ("", {"https_proxy": NOBODY_LISTENS, "no_proxy": "127.0.0.0/8"}),
    ],
)
async def test_no_configuration_makes_git_follow_a_redirect_into_the_network_of_the_server(
    https: GitServer,
    mirrors: Mirrors,
    listener: socket.socket,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    configured: str,
    variables: dict[str, str],
):
    configure(tmp_path, configured.format(host=https.host))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    https.elsewhere = f"https://127.0.0.1:{listener.getsockname()[1]}"
    reason = await refusal(mirrors, https.url("elsewhere/x"), branch="main")
    assert_not_contacted(listener)
    assert PRIVATE in reason


async def test_a_url_that_git_rewrites_leads_to_the_server_that_was_configured(
    https: GitServer, mirrors: Mirrors, listener: socket.socket, tmp_path: Path
):
    configure(tmp_path, f'[url "{https.url("")}"]\n\tinsteadOf = https://git.example.org/team/\n')
    assert (await mirrors.fetch("https://git.example.org/team/origin", "main")).branch == "main"
    https.elsewhere = f"https://127.0.0.1:{listener.getsockname()[1]}"
    reason = await refusal(mirrors, "https://git.example.org/team/elsewhere/x", branch="main")
    assert_not_contacted(listener)
    assert PRIVATE in reason


@pytest.mark.parametrize("configured", ["", '[http "https://{host}"]\n\tfollowRedirects = true\n'])
async def test_a_configured_proxy_follows_no_redirect_of_a_submodule(
    https: GitServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, configured: str
):
    configure(tmp_path, configured.format(host=https.host))
    https.elsewhere = https.url("").rstrip("/")
    url = https.url("elsewhere/origin")
    server = server_of(url)
    assert server is not None
    remote = Remote(url, server, trusted=False, own=False, allowed=["127.0.0.1"])
    # Another of these is as good a proxy as any.
    proxy = EgressProxy(server, (), trusted=True, elsewhere=False)
    async with proxy.opened():
        monkeypatch.setenv("https_proxy", proxy.url)
        monkeypatch.setenv("GIT_HTTP_PROXY_AUTHMETHOD", "basic")
        with pytest.raises(GitError, match="unable to access"):
            await remote.contact(
                tmp_path, lambda options: git("ls-remote", url, cwd=tmp_path, options=options)
            )
    assert https.asked and all(path.startswith("/elsewhere/") for path, _ in https.asked)


@pytest.mark.parametrize("no_proxy", ["", "example.org"])
async def test_a_configured_proxy_serves_all_that_no_proxy_does_not_name(
    https: GitServer, mirrors: Mirrors, monkeypatch: pytest.MonkeyPatch, no_proxy: str
):
    monkeypatch.setenv("https_proxy", NOBODY_LISTENS)
    monkeypatch.setenv("no_proxy", no_proxy)
    await refusal(mirrors, https.url("origin"), branch="main")
    assert https.asked == []
