"""Files in Git LFS: fetched with git-lfs where it is installed, else left as pointers, which is said.

Only from the server that the repository itself is fetched from: another could send git-lfs to any address.
"""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from rapidflow_web.errors import BuildError
from rapidflow_web.source.git import GitError, Terms, git, git_records, without_credentials
from rapidflow_web.source.mirrors import Source
from rapidflow_web.source.servers import is_named, server_of
from rapidflow_web.source.ways import Way

_CLEAN = ("filter.lfs.clean", "git-lfs clean -- %f")
POINTERS = Terms(
    settings=(("filter.lfs.process", ""), ("filter.lfs.smudge", ""), ("filter.lfs.required", "false"))
)
"""Terms on which a checkout leaves pointers, whatever is configured."""
_LARGEST_CONFIG = 64 * 1024


async def fetch(source: Source, folder: Path, umask: int, seconds: float) -> str | None:
    """Puts the files of the work tree in place of their pointers, in `seconds`. Raises `BuildError`.

    Returns a sentence on why it did not, if there are any.
    """
    count = await _count(folder)
    if count == 0:
        return None
    files = "1 file is a Git LFS pointer" if count == 1 else f"{count} files are Git LFS pointers"
    if shutil.which("git-lfs") is None:
        return f"{files}, because git-lfs is not installed on the server"
    if source.way is None or not source.way.credentials:
        return f"{files}, because they are on another host than the repository of the pipeline"
    endpoint = await _endpoint(folder, source.way)
    if endpoint is None:
        return f"{files}, because .lfsconfig names another host than that of the repository"
    try:
        async with asyncio.timeout(seconds):
            # The server of the repository says from where the files are downloaded, and with which password.
            await source.way.go(
                source.mirror, lambda terms: _pull(source, folder, endpoint, terms, umask), onward=True
            )
    except TimeoutError:
        raise BuildError(f"could not fetch the Git LFS files: it took longer than {seconds:.0f} s") from None
    except GitError as error:
        raise BuildError(f"could not fetch the Git LFS files: {error}") from error
    return None


async def _pull(source: Source, folder: Path, endpoint: str, terms: Terms, umask: int) -> None:
    settings = [_CLEAN, ("lfs.url", endpoint), ("lfs.locksverify", "false"), ("lfs.dialtimeout", "30")]
    if not endpoint.startswith("file://"):
        # What was downloaded once is there for the next build.
        settings.append(("lfs.storage", str((source.mirror / "lfs").absolute())))
    await git(
        "lfs", "pull", cwd=folder, terms=terms + POINTERS + Terms(settings=tuple(settings)), umask=umask
    )


async def _count(folder: Path) -> int:
    """How many files of the work tree are to be kept in LFS."""
    try:
        await git(
            "grep", "--cached", "--quiet", "--text", "--fixed-strings", "filter=lfs", "--",
            ".gitattributes", "**/.gitattributes", cwd=folder,
        )  # fmt: skip
    except GitError:
        return 0
    count = 0

    def take(record: bytes) -> None:
        nonlocal count
        count += 1

    await git_records("ls-files", "-z", "--", ":(attr:filter=lfs)", cwd=folder, take=take)
    return count


async def _endpoint(folder: Path, way: Way) -> str | None:
    """The URL of the LFS server; None for one that may not be asked."""
    stated = await _stated(folder)
    if stated is None:
        if way.server is None or way.server.scheme == "ssh":
            return way.url
        return f"{way.url.rstrip('/').removesuffix('.git')}.git/info/lfs"
    stated = without_credentials(stated)
    server = server_of(stated)
    if server is None or way.server is None:
        return None
    fits = server.host == way.server.host and server.scheme in ("https", "ssh")
    return stated if fits or is_named(way.allowed, server) else None


async def _stated(folder: Path) -> str | None:
    """What .lfsconfig says of it."""
    path = folder / ".lfsconfig"
    if path.is_symlink() or not path.is_file() or path.stat().st_size > _LARGEST_CONFIG:
        return None
    try:
        return (await git("config", "--file", ".lfsconfig", "--get", "lfs.url", cwd=folder)).strip()
    except GitError:
        return None
