"""Files in Git LFS: fetched where git-lfs is installed, else left as pointers, which is said.

Only from the server that the repository itself is fetched from. git-lfs puts the files in place of their
pointers, and connects to nobody.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import shutil
import stat
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from rapidflow_web.errors import BuildError
from rapidflow_web.pipeline.clone_credentials import origin
from rapidflow_web.pipeline.repositories import check_url
from rapidflow_web.progress import Progress
from rapidflow_web.source import ssh
from rapidflow_web.source.git import GitError, GitOptions, git, git_records, without_credentials
from rapidflow_web.source.lfs_client import LfsObject, download
from rapidflow_web.source.mirrors import Source
from rapidflow_web.source.outages import patiently
from rapidflow_web.source.remote import Remote, rewritten, ssh_command
from rapidflow_web.source.servers import Server, is_named, server_of

_FILTER = ("filter.lfs.process", "git-lfs filter-process"), ("filter.lfs.required", "true")
"""Without it git-lfs puts the files themselves into the index, and no pointers."""
POINTERS = GitOptions(
    settings=(("filter.lfs.process", ""), ("filter.lfs.smudge", ""), ("filter.lfs.required", "false"))
)
"""Options with which a checkout leaves pointers, whatever is configured."""
_LARGEST_CONFIG = 64 * 1024
_MOST_FILES = 100_000
_LARGEST_POINTER = 1024
_POINTER = re.compile(
    rb"version https?://\S{1,100}\n(?:ext-[^\n]{1,200}\n){0,4}"
    rb"oid sha256:([0-9a-f]{64})\nsize (\d{1,15})\s*"
)


async def fetch(source: Source, folder: Path, umask: int, progress: Progress | None = None) -> str | None:
    """Puts the files of the work tree in place of their pointers. Raises `BuildError`.

    `progress` is told how far the download is.

    Returns a sentence on why it did not, if there are any.
    """
    paths = await _paths(folder)
    if not paths:
        return None
    count = len(paths)
    files = "1 file is a Git LFS pointer" if count == 1 else f"{count} files are Git LFS pointers"
    if shutil.which("git-lfs") is None:
        return f"{files}, because git-lfs is not installed on the server"
    if source.remote is not None and source.remote.anonymous:
        return f"{files}, because the build uses no login of the server"
    if source.remote is None or not source.remote.credentials:
        return f"{files}, because they are on another host than the repository of the pipeline"
    try:
        url = await rewritten(source.remote.url, source.mirror, source.options)
        endpoint = await _endpoint(folder, url, source.remote)
        if endpoint is None:
            return f"{files}, because .lfsconfig names another host than that of the repository"
        if source.remote.server is None:
            await _git_lfs("pull", folder, umask, ("lfs.url", endpoint))
            return None
        storage = (source.mirror / "lfs").absolute()
        within, there = source.remote, endpoint

        async def download() -> None:
            if wanted := await asyncio.to_thread(_missing, folder, paths, storage):
                await _download(source, within, there, wanted, storage, progress)

        await patiently(download, progress)
        nobody = "lfs.url", f"file://{source.mirror}"
        await _git_lfs("checkout", folder, umask, nobody, ("lfs.storage", str(storage)))
    except GitError as error:
        raise BuildError(f"could not fetch the Git LFS files: {error}") from error
    return None


async def _git_lfs(command: str, folder: Path, umask: int, *settings: tuple[str, str]) -> None:
    options = GitOptions(settings=(*_FILTER, ("lfs.locksverify", "false"), *settings))
    await git("lfs", command, cwd=folder, options=options, umask=umask)


async def _download(
    source: Source,
    within: Remote,
    endpoint: str,
    wanted: Sequence[LfsObject],
    storage: Path,
    progress: Progress | None,
) -> None:
    headers: dict[str, str] = {}
    server = server_of(endpoint)
    if server is not None and server.scheme == "ssh":
        endpoint, headers = await _asked_by_ssh(source.mirror, within, endpoint, server)
        server = server_of(endpoint)
    if server is None or within.server is None or origin(endpoint) is None:
        raise GitError(f"{without_credentials(endpoint)[:200]} is no Git LFS server that is asked by https")
    same_host = server.host == within.server.host
    port = within.server.port if within.server.scheme == "https" else 443
    remote = replace(
        within,
        url=endpoint,
        server=server,
        trusted=is_named(within.allowed, server) or (within.trusted and same_host and server.port == port),
        credentials=is_named(within.allowed, server) or same_host,
    )

    async def act(options: GitOptions) -> None:
        url = await rewritten(endpoint, source.mirror, options)
        options += GitOptions(progress=progress)
        await download(url, wanted, storage, source.mirror, options, headers)

    # The server of the repository says from where the files are downloaded, and with which password.
    await remote.contact(source.mirror, act, onward=True)


async def _asked_by_ssh(mirror: Path, remote: Remote, url: str, server: Server) -> tuple[str, dict[str, str]]:
    """The URL of the LFS server that is told by ssh, and the headers that it wants."""
    if "://" in url:
        parts = urlsplit(url)
        user, port, path = parts.username, ("-p", str(server.port)) if parts.port else (), parts.path
    else:
        name, _, path = url.partition(":")
        user, port = name.rpartition("@")[0], ()
    there = f"{user}@{server.host}" if user else server.host
    configured = await ssh_command(mirror)
    called = ssh.strict(configured).get("GIT_SSH_COMMAND") or ssh.command(configured)
    # An alias is how git itself runs a command in a shell.
    options = GitOptions(settings=(("alias.ask-by-ssh", f"!{called}"),), quiet=not remote.own)
    said = await git(
        "ask-by-ssh",
        *port,
        there,
        f"git-lfs-authenticate {shlex.quote(path)} download",
        cwd=mirror,
        options=options,
    )
    try:
        answer = cast(dict[str, Any], json.loads(said))
        given = cast(dict[str, Any], answer.get("header") or {})
        headers = {str(name): str(value) for name, value in given.items()}
        return str(answer.get("href") or _beside(f"https://{server.host}/{path.lstrip('/')}")), headers
    except (ValueError, AttributeError, RecursionError):
        raise GitError(f"{server} does not answer git-lfs-authenticate") from None


def _missing(folder: Path, paths: Sequence[bytes], storage: Path) -> list[LfsObject]:
    """What the pointers among the files stand for and is not there yet: what was downloaded once is."""
    found: set[LfsObject] = set()
    for path in paths:
        try:
            file = os.open(folder / os.fsdecode(path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            continue  # a symbolic link, or not there
        with os.fdopen(file, "rb") as opened:
            is_file = stat.S_ISREG(os.fstat(file).st_mode)
            match = _POINTER.fullmatch(opened.read(_LARGEST_POINTER)) if is_file else None
        if match is not None:
            found.add(LfsObject(match[1].decode(), int(match[2])))
    return [one for one in found if one.size and not one.path(storage).exists()]


async def _paths(folder: Path) -> list[bytes]:
    """The files of the work tree that are to be kept in LFS and fetched."""
    try:
        await git(
            "grep", "--cached", "--quiet", "--text", "--fixed-strings", "filter=lfs", "--",
            ".gitattributes", "**/.gitattributes", cwd=folder,
        )  # fmt: skip
    except GitError:
        return []
    paths: list[bytes] = []

    def take(record: bytes) -> None:
        if len(paths) == _MOST_FILES:
            raise BuildError(f"could not fetch the Git LFS files: there are more than {_MOST_FILES:,}")
        paths.append(record)

    wanted = [f":(attr:filter=lfs){one}" for one in await _patterns(folder, "lfs.fetchinclude")]
    unwanted = [f":(exclude){one}" for one in await _patterns(folder, "lfs.fetchexclude")]
    pathspecs = *(wanted or [":(attr:filter=lfs)"]), *unwanted
    await git_records("ls-files", "-z", "--", *pathspecs, cwd=folder, take=take)
    return paths


async def _patterns(folder: Path, setting: str) -> list[str]:
    try:
        stated = await git("config", "--get", setting, cwd=folder)
    except GitError:
        stated = await _stated(folder, setting) or ""
    return [one.strip().lstrip("/") for one in stated.split(",") if one.strip().lstrip("/")]


async def _endpoint(folder: Path, url: str, remote: Remote) -> str | None:
    """The URL of the LFS server of what is fetched from `url`; None for one that may not be asked."""
    stated = await _stated(folder, "lfs.url")
    if stated is None:
        server = server_of(url)
        if remote.server is None or server is None or server.scheme == "ssh":
            return url
        return _beside(url if server.scheme == "https" else f"https://{server.host}{urlsplit(url).path}")
    try:
        stated = check_url(without_credentials(stated), [])
    except ValueError:
        return None
    server = server_of(stated)
    if server is None or remote.server is None:
        return None
    fits = server.host == remote.server.host and server.scheme in ("https", "ssh")
    return stated if fits or is_named(remote.allowed, server) else None


def _beside(url: str) -> str:
    """Where the LFS server of an https repository is, unless something else is said."""
    return f"{url.rstrip('/').removesuffix('.git')}.git/info/lfs"


async def _stated(folder: Path, setting: str) -> str | None:
    """What .lfsconfig says of it."""
    path = folder / ".lfsconfig"
    if path.is_symlink() or not path.is_file() or path.stat().st_size > _LARGEST_CONFIG:
        return None
    try:
        return (await git("config", "--file", ".lfsconfig", "--get", setting, cwd=folder)).strip()
    except GitError:
        return None
