"""The work tree of a build, with its `.git` and its submodules, from the mirrors."""

from __future__ import annotations

import shutil
from pathlib import Path

from rapidflow_web.errors import BuildError
from rapidflow_web.source.git import GitError, git, without_credentials
from rapidflow_web.source.mirrors import Mirrors, Source

MAX_SUBMODULE_DEPTH = 8


async def check_out(source: Source, folder: Path, mirrors: Mirrors) -> None:
    """Makes `folder`, which must not exist, the work tree of `source`. Raises `BuildError`."""
    try:
        await _clone(source, folder)
        await _submodules(source.url, folder, mirrors, depth=1)
    except GitError as error:
        raise BuildError(f"could not check out {source.commit[:12]}: {error}") from error


async def _clone(source: Source, folder: Path) -> None:
    # Local clones share the mirror's objects by hard links: no copy, and the work tree stands on its own.
    await git(
        "-c", "protocol.file.allow=always", "clone", "--quiet", "--local", "--no-checkout", "--template=",
        "--origin", "origin", str(source.mirror), str(folder),
    )  # fmt: skip
    if source.branch is not None:
        await git("checkout", "--quiet", "--force", "-B", source.branch, source.commit, cwd=folder)
    else:
        await git("checkout", "--quiet", "--force", "--detach", source.commit, cwd=folder)
    await git("remote", "set-url", "origin", without_credentials(source.url), cwd=folder)


async def _submodules(url: str, folder: Path, mirrors: Mirrors, depth: int) -> None:
    if not (folder / ".gitmodules").is_file():
        return
    if depth > MAX_SUBMODULE_DEPTH:
        raise BuildError(f"could not fetch the source: submodules are nested deeper than {MAX_SUBMODULE_DEPTH}")
    for name, path in await _listed(folder):
        entry = await git("ls-files", "--stage", "--", path, cwd=folder)
        if not entry.startswith("160000 "):
            continue  # listed, and not in this commit
        commit = entry.split()[1]
        stated = (await git("config", "--file", ".gitmodules", f"submodule.{name}.url", cwd=folder)).strip()
        target = folder / path
        if target.is_symlink() or not target.resolve().is_relative_to(folder.resolve()):
            raise BuildError(f"could not fetch the source: the submodule '{name}' is not inside the repository")
        source = await mirrors.fetch(_absolute(url, stated), commit=commit)
        if target.exists():
            shutil.rmtree(target)
        await _clone(source, target)
        await git("config", f"submodule.{name}.url", without_credentials(source.url), cwd=folder)
        await _submodules(source.url, target, mirrors, depth + 1)


async def _listed(folder: Path) -> list[tuple[str, str]]:
    """Name and path of the submodules in .gitmodules."""
    try:
        listing = await git("config", "--file", ".gitmodules", "--null", "--get-regexp", r"^submodule\..*\.path$", cwd=folder)
    except GitError:
        return []
    pairs = (entry.partition("\n") for entry in listing.split("\0") if entry)
    return [(key.removeprefix("submodule.").removesuffix(".path"), path) for key, _, path in pairs]


def _absolute(url: str, stated: str) -> str:
    """A submodule's URL; `../other.git` is relative to the repository that names it."""
    if not stated.startswith(("./", "../")):
        return stated
    base = url.rstrip("/")
    while stated.startswith(("./", "../")):
        if stated.startswith("../"):
            base, stated = base.rpartition("/")[0], stated[3:]
        else:
            stated = stated[2:]
    return f"{base}/{stated}"
