from __future__ import annotations

import pytest

from rapidflow_web.forges import base
from tests.support.forges import TOKEN

BASES = [
    ("github", "https://github.com/team/app.git", "https://api.github.com"),
    ("github", "git@github.com:team/app.git", "https://api.github.com"),
    ("github", "ssh://git@ssh.github.com:443/team/app", "https://api.github.com"),
    ("github", "https://github.example.com:8443/team/app", "https://github.example.com:8443/api/v3"),
    ("github", "https://acme.ghe.com/team/app.git", "https://api.acme.ghe.com"),
    ("gitlab", "ssh://git@altssh.gitlab.com:443/team/app.git", "https://gitlab.com/api/v4"),
    ("gitlab", "ssh://git@git.example.com:2222/team/app.git", "https://git.example.com/api/v4"),
    ("gitea", "https://git.example.com/team/app.git", "https://git.example.com/api/v1"),
    ("gitea", "https://example.com/git/team/app.git", "https://example.com/git/api/v1"),
    ("forgejo", "git@codeberg.org:team/app.git", "https://codeberg.org/api/v1"),
    ("forgejo", "git://codeberg.org:9418/team/app", "https://codeberg.org/api/v1"),
    ("bitbucket", "https://me@bitbucket.org/team/app.git", "https://api.bitbucket.org/2.0"),
    ("bitbucket", "git@altssh.bitbucket.org:team/app", "https://api.bitbucket.org/2.0"),
    ("gitea", "http://localhost:3000/team/app", "http://localhost:3000/api/v1"),
    ("gitea", "http://gitea:3000/team/app", "http://gitea:3000/api/v1"),
    ("gitea", "http://10.1.2.3:3000/team/app", "http://10.1.2.3:3000/api/v1"),
    ("gitea", "http://[::1]:3000/team/app", "http://[::1]:3000/api/v1"),
    ("gitea", "ssh://git@[fd00::1]:22/team/app", "https://[fd00::1]/api/v1"),
    # Nobody sends a token through the internet in clear.
    ("gitea", "http://git.example.com:3000/team/app", "https://git.example.com/api/v1"),
    ("gitea", "https://user:pass@git.example.com/team/app.git/", "https://git.example.com/api/v1"),
]
BELOW = {
    "github": "/repos/team/app",
    "gitlab": "/projects/team%2Fapp",
    "gitea": "/repos/team/app",
    "forgejo": "/repos/team/app",
    "bitbucket": "/repositories/team/app",
}


def address(forge: str, clone_url: str) -> str:
    """Where the API has the repository."""
    api = base.api_for(forge, clone_url, TOKEN)
    assert api is not None
    below = getattr(api, "_repository", "") or getattr(api, "_project", "")
    return f"{api._client._base}{below}"  # type: ignore[attr-defined]


@pytest.mark.parametrize(("forge", "clone_url", "base_url"), BASES)
def test_the_api_is_at_the_host_of_the_clone_url(forge: str, clone_url: str, base_url: str) -> None:
    assert address(forge, clone_url) == base_url + BELOW[forge]


@pytest.mark.parametrize(
    ("forge", "clone_url", "expected"),
    [
        ("gitlab", "https://gitlab.com/a/b/c.git", "https://gitlab.com/api/v4/projects/a%2Fb%2Fc"),
        (
            "gitea",
            "https://git.example.com/te%20am/a%26p.git",
            "https://git.example.com/api/v1/repos/te%20am/a%26p",
        ),
    ],
)
def test_the_path_of_the_repository_is_quoted(forge: str, clone_url: str, expected: str) -> None:
    assert address(forge, clone_url) == expected


@pytest.mark.parametrize(
    ("forge", "clone_url"),
    [
        ("git", "https://github.com/team/app.git"),
        ("github", "file:///srv/team/app.git"),
        ("github", "/srv/team/app.git"),
        ("github", "https://github.com/app.git"),
        ("github", "https://github.com/team/../app"),
        ("github", "https://github.com/team/a%2Fb"),
        ("github", "https://github.com//app"),
        ("github", "https://[/team/app"),
        ("github", "https://github.com:x/team/app"),
        ("github", ""),
    ],
)
def test_there_is_not_always_an_api(forge: str, clone_url: str) -> None:
    assert base.api_for(forge, clone_url, TOKEN) is None


@pytest.mark.parametrize(
    ("url", "forge"),
    [
        ("https://github.com/team/app", "github"),
        ("git@github.com:team/app.git", "github"),
        ("https://GITHUB.com/team/app", "github"),
        ("https://github.example.com/team/app", "github"),
        ("https://acme.ghe.com/team/app", "github"),
        ("ssh://git@gitlab.example.com:2222/team/app", "gitlab"),
        ("https://gitlab.com/team/app", "gitlab"),
        ("https://gitea.com/team/app", "gitea"),
        ("https://codeberg.org/team/app", "forgejo"),
        ("https://forgejo.example.com/team/app", "forgejo"),
        ("https://bitbucket.org/team/app", "bitbucket"),
        # That is another product than Bitbucket Cloud.
        ("https://bitbucket.example.com/scm/team/app.git", "git"),
        ("https://git.example.com/github.com/app", "git"),
        ("https://github.com.example.com/team/app", "github"),
        ("https://notgithub.com/team/app", "git"),
        ("file:///srv/github.com/app", "git"),
        ("https://[", "git"),
        ("", "git"),
    ],
)
def test_the_forge_is_guessed_from_the_host(url: str, forge: str) -> None:
    assert base.guess(url) == forge and forge in base.NAMES
