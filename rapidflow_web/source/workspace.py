"""The work tree of a build, with its `.git` and its submodules, from the mirrors."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from rapidflow_web.errors import BuildError
from rapidflow_web.source.git import GitError, git, without_credentials
from rapidflow_web.source.mirrors import Mirrors, Source

MAX_SUBMODULE_DEPTH = 8


async def check_out(source: Source, folder: Path, mirrors: Mirrors) -> None:
    """Makes `folder`, which must not exist, the work tree of `source`. Raises `BuildError`."""
    try:
        await _clone(source, folder, mirrors)
        await _submodules(source, folder, mirrors, depth=1)
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
            await git(*clone, cwd=source.mirror)
    except GitError:
        # The fetch of another build may have renamed a file just when it was to be linked.
        async with mirrors.unmoved(source.mirror, unfetched=True):
            await git(*clone, cwd=source.mirror)
    # Before the checkout, because filters such as that of git-lfs fetch from there.
    await git("remote", "set-url", "origin", without_credentials(source.url), cwd=folder)
    if source.branch is not None:
        tracked = f"refs/remotes/origin/{source.branch}"
        await git("update-ref", tracked, source.commit, cwd=folder)
        head = ("-B", source.branch, "--track", tracked)
    else:
        head = ("--detach", source.commit)
    await git("checkout", "--quiet", "--force", *head, cwd=folder, environment=source.environment)


async def _submodules(within: Source, folder: Path, mirrors: Mirrors, depth: int) -> None:
    if not await asyncio.to_thread((folder / ".gitmodules").is_file):
        return
    links = await _links(folder)
    for name, values in (await _listed(folder)).items():
        path = values.get("path", "")
        if path not in links or values.get("update") == "none":
            continue  # listed, and not in this commit or not wanted
        if depth > MAX_SUBMODULE_DEPTH:
            raise BuildError(
                f"could not fetch the source: submodules are nested deeper than {MAX_SUBMODULE_DEPTH}"
            )
        try:
            url = _absolute(within.url, values.get("url", ""))
            source = await mirrors.fetch(url, commit=links[path], account=within.account)
        except BuildError as error:
            raise BuildError(f"the submodule '{name}': {error}") from error
        await asyncio.to_thread(_clear, folder, path)
        await _clone(source, folder / path, mirrors)
        await git("config", f"submodule.{name}.url", without_credentials(source.url), cwd=folder)
        await _submodules(source, folder / path, mirrors, depth + 1)


async def _listed(folder: Path) -> dict[str, dict[str, str]]:
    """What .gitmodules says of each submodule, by name."""
    listing = await git("config", "--file", ".gitmodules", "--null", "--list", cwd=folder)
    modules: dict[str, dict[str, str]] = {}
    for entry in listing.split("\0"):
        key, _, value = entry.partition("\n")
        name, _, variable = key.removeprefix("submodule.").rpartition(".")
        if key.startswith("submodule.") and name:
            modules.setdefault(name, {})[variable] = value
    return modules


async def _links(folder: Path) -> dict[str, str]:
    """The commits of the submodules, by path, as the commit that is checked out has them."""
    listing = await git("ls-files", "--stage", "-z", cwd=folder)
    entries = (entry.partition("\t") for entry in listing.split("\0") if entry.startswith("160000 "))
    return {path: entry.split()[1] for entry, _, path in entries}


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
    base, separator, rest = url.rstrip("/"), "/", stated
    while rest.startswith(("./", "../")):
        if rest.startswith("../"):
            base, separator = _parent(base)
        rest = rest.partition("/")[2]
    return stated if rest == stated else f"{base}{separator}{rest}"


def _parent(base: str) -> tuple[str, str]:
    """What is above, and what separates it from what is in it: for `git@host:repo` that is a colon."""
    scheme, separator, path = base.rpartition("://")
    for divider in "/" if separator else "/:":
        above, found, _ = path.rpartition(divider)
        if found:
            return f"{scheme}{separator}{above}", divider
    raise BuildError("could not fetch the source: its URL leads out of the server of the repository")
