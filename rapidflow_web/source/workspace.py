"""The work tree of a build, with its `.git` and its submodules, from the mirrors."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

from rapidflow_web.errors import BuildError
from rapidflow_web.source.git import GitError, git, without_credentials
from rapidflow_web.source.mirrors import Mirrors, Source

MAX_SUBMODULE_DEPTH = 8


async def check_out(source: Source, folder: Path, mirrors: Mirrors) -> None:
    """Makes `folder`, which must not exist, the work tree of `source`. Raises `BuildError`."""
    try:
        await _clone(source, folder, mirrors)
        await _submodules(source.url, folder, mirrors, depth=1)
    except GitError as error:
        raise BuildError(f"could not check out {source.commit[:12]}: {error}") from error


async def _clone(source: Source, folder: Path, mirrors: Mirrors) -> None:
    # A local clone shares the mirror's objects by hard links: no copy, and the work tree stands on its own.
    clone = (
        "clone", "--quiet", "--no-checkout", "--template=", "--origin", "origin",
        str(source.mirror), str(folder),
    )  # fmt: skip
    try:
        async with mirrors.unmoved(source.mirror):
            await git(*clone)
    except GitError:
        # The fetch of another build may have renamed a file just when it was to be linked.
        async with mirrors.unmoved(source.mirror, unfetched=True):
            await git(*clone)
    # Before the checkout, because filters such as that of git-lfs fetch from there.
    await git("remote", "set-url", "origin", without_credentials(source.url), cwd=folder)
    if source.branch is not None:
        tracked = f"refs/remotes/origin/{source.branch}"
        await git("update-ref", tracked, source.commit, cwd=folder)
        await git("checkout", "--quiet", "--force", "-B", source.branch, "--track", tracked, cwd=folder)
    else:
        await git("checkout", "--quiet", "--force", "--detach", source.commit, cwd=folder)


async def _submodules(url: str, folder: Path, mirrors: Mirrors, depth: int) -> None:
    stated = await _stated(folder)
    links = await _links(folder, [paths["path"] for paths in stated.values() if paths.get("path")])
    for name, values in stated.items():
        path = values.get("path", "")
        if path not in links or values.get("update") == "none":
            continue  # listed, and not in this commit or not wanted
        if depth > MAX_SUBMODULE_DEPTH:
            raise BuildError(
                f"could not fetch the source: submodules are nested deeper than {MAX_SUBMODULE_DEPTH}"
            )
        try:
            source = await mirrors.fetch(_absolute(url, values.get("url", "")), commit=links[path])
        except BuildError as error:
            raise BuildError(f"the submodule '{name}': {error}") from error
        await asyncio.to_thread(_clear, folder, path)
        await _clone(source, folder / path, mirrors)
        await git("config", f"submodule.{name}.url", without_credentials(source.url), cwd=folder)
        await _submodules(source.url, folder / path, mirrors, depth + 1)


async def _stated(folder: Path) -> dict[str, dict[str, str]]:
    """What .gitmodules says of each submodule, by name."""
    modules: dict[str, dict[str, str]] = {}
    file = folder / ".gitmodules"
    if await asyncio.to_thread(lambda: file.is_file() and not file.is_symlink()):
        listing = await git("config", "--file", ".gitmodules", "--null", "--list", cwd=folder)
        for key, value in _pairs(listing):
            section, _, rest = key.partition(".")
            name, _, variable = rest.rpartition(".")
            if section == "submodule" and name:
                modules.setdefault(name, {})[variable] = value
    return modules


def _pairs(listing: str) -> Iterator[tuple[str, str]]:
    for entry in listing.split("\0"):
        key, _, value = entry.partition("\n")
        yield key, value


async def _links(folder: Path, paths: list[str]) -> dict[str, str]:
    """The commits of the submodules among the paths."""
    if not paths:
        return {}
    listing = await git("--literal-pathspecs", "ls-files", "--stage", "-z", "--", *paths, cwd=folder)
    entries = (entry.partition("\t") for entry in listing.split("\0"))
    return {path: entry.split()[1] for entry, _, path in entries if entry.startswith("160000 ")}


def _clear(folder: Path, path: str) -> None:
    """Makes room for a submodule, of which git has made an empty folder."""
    target = folder / path
    if target.is_symlink() or not target.resolve().is_relative_to(folder.resolve()):
        raise BuildError(
            f"could not fetch the source: the submodule in '{path}' is not inside the repository"
        )
    shutil.rmtree(target, ignore_errors=True)


def _absolute(url: str, stated: str) -> str:
    """A submodule's URL; `../other.git` is relative to the repository that names it."""
    if not stated.startswith(("./", "../")):
        return stated
    base = url.rstrip("/")
    separator = "/"
    while stated.startswith(("./", "../")):
        if stated.startswith("../"):
            base, separator = _parent(base)
            stated = stated[3:]
        else:
            stated = stated[2:]
    return f"{base}{separator}{stated}"


def _parent(base: str) -> tuple[str, str]:
    """What is above, and what separates it from what is in it: of `git@host:repo` that is a colon."""
    if "/" in base:
        return base.rpartition("/")[0], "/"
    return base.rpartition(":")[0], ":"
