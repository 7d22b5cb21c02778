"""Which repositories and branches a pipeline may name. Pure: nothing is looked up."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from urllib.parse import quote, unquote, urlsplit

from rapidflow_web.pipeline import clone_credentials

SCHEMES = ("https", "ssh", "git", "file")
MAX_BRANCH = 250
"""Bytes: git keeps a branch in a file of that name."""

COMMIT_ID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
"""The whole id of a commit or another object, by SHA-1 or SHA-256."""

_SCP_LIKE = re.compile(
    r"(?:[A-Za-z0-9._-]+@)?(?P<host>[A-Za-z0-9][A-Za-z0-9.-]*):(?P<path>[^:/-][^:]*|/[^:]*)"
)
_BAD_IN_BRANCH = re.compile(
    r"[\x00-\x20\x7f~^:?*\[\\\ud800-\udfff]|\.\.|//|@\{|\.lock(/|$)|(^|/)\.|^/|/$|\.$|^@$|^HEAD$"
)


def check_url(url: str, file_roots: Sequence[str]) -> str:
    """The clone URL, if git may be given it.

    `file_roots` are the folders below which `file://` repositories may lie. Raises ValueError with a
    sentence that says what to write instead.
    """
    if not url or url.startswith("-") or any(_is_control(c) or c == " " for c in url):
        raise ValueError("'repo_name' must be a clone URL like https://example.com/user/repo, without spaces")
    scheme, separator, rest = url.partition("://")
    if not separator:
        match = _SCP_LIKE.fullmatch(url)
        if match and "::" not in url and match["host"].lower() not in SCHEMES:
            return url
        if url.startswith("/"):
            path = quote(url[:1000], errors="replace")
            raise ValueError(f"'repo_name' must be a URL, not a path; use file://{path}")
        raise ValueError(
            f"'repo_name' must be a clone URL that begins with https://, ssh://, git:// or file://, "
            f"or one like git@host:path, not '{url.rpartition('@')[2][:100]}'"
        )
    if scheme not in SCHEMES:
        raise ValueError(f"repositories can't be fetched by '{scheme[:20]}'; use https, ssh, git or file")
    if scheme == "file":
        return _check_file(url, file_roots)
    if any(map(_is_control, unquote(url))):
        # Some protocols put the path into a line of its own.
        raise ValueError(
            "'repo_name' must be a clone URL without control characters, also as %0A or the like"
        )
    try:
        host, password = unquote(urlsplit(url).hostname or ""), urlsplit(url).password
        _ = urlsplit(url).port
    except ValueError:
        host = password = None
    authority, _, path = rest.partition("/")
    # To git, `?` and `#` are part of the host: it would contact another one than was looked at here.
    if not host or host.startswith("-") or rest.startswith("-") or not path or set("?#") & set(authority):
        raise ValueError(f"'repo_name' must name a host and a path, like {scheme}://example.com/user/repo")
    if password:
        _check_password(url, scheme)
    return url


def _is_control(character: str) -> bool:
    return ord(character) < 32 or ord(character) == 127


def _check_password(url: str, scheme: str) -> None:
    if scheme != "https":
        raise ValueError(f"git takes no password from a URL that begins with {scheme}://; leave it out")
    clone_credentials.login_in(url)


def file_path(url: str) -> str:
    """The path that a `file://` URL stands for, byte for byte as git reads it."""
    return unquote(url.removeprefix("file://"), errors="surrogateescape")


def _check_file(url: str, file_roots: Sequence[str]) -> str:
    path = file_path(url)
    if not path.startswith("/") or "\0" in path:
        raise ValueError("a file repository needs an absolute path: file:///folder/repo")
    check_file_path(posixpath.normpath(path), file_roots)
    return url


def check_file_path(path: str, file_roots: Sequence[str]) -> None:
    """Raises ValueError unless the path, absolute and without `..`, is below one of the folders."""
    if not any(path == root or path.startswith(root.rstrip("/") + "/") for root in file_roots):
        allowed = ", ".join(file_roots) or "none is set"
        shown = path.encode("utf-8", "replace").decode()
        raise ValueError(
            f"the repository '{shown}' is not below an allowed folder ({allowed}); "
            "the administrator can allow more by restarting the server with RAPIDFLOW_FILE_ROOTS=/folder"
        )


def check_branch(branch: str) -> str:
    """The branch, if git takes it as one. Raises ValueError."""
    size = len(branch.encode("utf-8", "surrogatepass"))
    wrong = not branch or branch.startswith("-") or _BAD_IN_BRANCH.search(branch)
    if wrong or size > MAX_BRANCH:
        raise ValueError(f"{branch[:60]!r} is not the name of a branch")
    return branch


def ref_of(branch: str | None) -> str | None:
    """The full name of a branch; None for none."""
    return None if branch is None else f"refs/heads/{branch}"
