"""The work tree of a build, with its `.git` and its submodules, from the mirrors."""

from __future__ import annotations

import asyncio
import shutil
import stat
from pathlib import Path

from rapidflow_web.errors import BuildError
from rapidflow_web.pipeline.durations import format_duration
from rapidflow_web.progress import Progress, about
from rapidflow_web.source import lfs
from rapidflow_web.source.fetching import COMMITS, HEADS, forget_references
from rapidflow_web.source.git import GitError, GitOptions, git, git_records, plain, without_credentials
from rapidflow_web.source.mirrors import Mirrors, Source

MAX_SUBMODULE_DEPTH = 8
MAX_SUBMODULES = 1000
"""In one build, with those of submodules."""
MAX_LIST = 1024 * 1024
"""Bytes of a .gitmodules."""
_MOST_ENTRIES = 20_000
_MOST_LISTED = 16 * MAX_LIST
"""Bytes that git may print of a .gitmodules: it repeats the name of a submodule with each entry."""
_UMASK = 0o022
"""Files are 644 or 755, as the repository has it, whatever the server's user makes."""


async def check_out(
    source: Source, folder: Path, mirrors: Mirrors, progress: Progress | None = None
) -> list[str]:
    """Makes `folder`, which must not exist, the work tree of `source`. Raises `BuildError`.

    The work tree and that of each submodule take as long as a fetch may. `progress` is told how far it is.
    Returns sentences on what is not as the repository has it.
    """
    try:
        return await _Checkout(mirrors, progress).run(source, folder)
    except GitError as error:
        raise BuildError(f"could not check out {source.commit[:12]}: {error}") from error


class _Checkout:
    """One work tree with its submodules."""

    def __init__(self, mirrors: Mirrors, progress: Progress | None) -> None:
        self._mirrors = mirrors
        self._progress = progress
        self._submodules = 0
        self._remarks: list[str] = []

    async def run(self, source: Source, folder: Path) -> list[str]:
        await self._tree(source, folder, depth=0, name="")
        return self._remarks

    async def _tree(self, source: Source, folder: Path, depth: int, name: str) -> None:
        progress = self._told(name)
        try:
            # Patterns in .gitattributes can keep git busy for ever.
            async with asyncio.timeout(self._mirrors.timeout):
                await _clone(source, folder, self._mirrors, progress)
                remark = await lfs.fetch(source, folder, _UMASK, progress)
                links = await _links(folder) if await asyncio.to_thread(_has_list, folder) else {}
                modules = await _listed(folder) if links else {}
        except TimeoutError:
            timeout = format_duration(round(self._mirrors.timeout))
            raise BuildError(
                f"could not check out {source.commit[:12]}: it took longer than {timeout}"
            ) from None
        if remark is not None:
            self._remarks.append(f"the submodule '{name}': {remark}" if name else remark)
        for module, values in modules.items():
            path = values.get("path", "")
            if path not in links or values.get("update") == "none":
                continue  # listed, and not in this commit or not wanted
            if depth == MAX_SUBMODULE_DEPTH:
                raise BuildError(
                    f"could not fetch the source: submodules are nested deeper than {MAX_SUBMODULE_DEPTH}"
                )
            self._submodules += 1
            if self._submodules > MAX_SUBMODULES:
                raise BuildError(f"could not fetch the source: it has more than {MAX_SUBMODULES} submodules")
            await self._submodule(source, folder, module, path, values.get("url", ""), links[path], depth)

    def _told(self, submodule: str) -> Progress | None:
        """Whom to tell of a submodule, or of the repository itself."""
        if self._progress is None or not submodule:
            return self._progress
        return about(f"submodule '{submodule}'", self._progress)

    async def _submodule(
        self, within: Source, folder: Path, module: str, path: str, stated: str, commit: str, depth: int
    ) -> None:
        name = plain(module)[:100]
        try:
            if not stated:
                raise BuildError("could not fetch the source: .gitmodules has no URL for it")
            url = _absolute(within.url, stated)
            source = await self._mirrors.fetch(
                url, commit=commit, within=within, progress=self._told(name), patient=True
            )
        except BuildError as error:
            raise BuildError(f"the submodule '{name}': {_of_submodule(str(error))}") from error
        await asyncio.to_thread(_clear, folder, path)
        await self._tree(source, folder / path, depth + 1, name)
        await git("config", f"submodule.{module}.url", without_credentials(source.url), cwd=folder)


def _of_submodule(words: str) -> str:
    # The rules for URLs are told to those who write pipelines.
    return words.replace("'repo_name' must be", "its URL in .gitmodules must be").replace(
        "into 'repo_name'", "into its URL"
    )


async def _clone(source: Source, folder: Path, mirrors: Mirrors, progress: Progress | None) -> None:
    try:
        async with mirrors.unmoved(source.mirror):
            await _clone_mirror(source, folder)
    except GitError:
        # The fetch of another build may have renamed a file just when it was to be linked.
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        async with mirrors.unmoved(source.mirror, unfetched=True):
            await _clone_mirror(source, folder)
    # Before the checkout, because filters may fetch from there.
    await asyncio.to_thread(_name_origin, folder, without_credentials(source.url))
    head = ("--detach", source.commit)
    if source.branch is not None:
        tracked = f"refs/remotes/origin/{source.branch}"
        try:
            await git("update-ref", tracked, source.commit, cwd=folder)
        except GitError:
            # The fetch of another build has found a branch "a/b" where this one found "a".
            await forget_references(folder, "refs/remotes/origin")
            await git("update-ref", tracked, source.commit, cwd=folder)
        # Other programs than git's commands make branches whose names these take for options.
        if not source.branch.startswith("-"):
            head = ("-B", source.branch, "--track", tracked)
    options = source.options + lfs.POINTERS + GitOptions(progress=progress)
    command = "checkout", "--quiet", *(("--progress",) if progress is not None else ()), "--force"
    await git(*command, *head, cwd=folder, options=options, umask=_UMASK)


async def _clone_mirror(source: Source, folder: Path) -> None:
    wanted = [f"+{HEADS}/*:refs/remotes/origin/*"]
    if (source.mirror / "shallow").exists():
        # Of a shallow repository git copies what is asked for.
        wanted.append(f"+{COMMITS}/{source.commit}:{COMMITS}/{source.commit}")
    # A local clone shares the mirror's objects by hard links: no copy, and the work tree stands on its own.
    await git(
        "clone", "--quiet", "--no-checkout", "--template=", "--origin", "origin",
        *(f"--config=remote.origin.fetch={one}" for one in wanted),
        str(source.mirror), str(folder), cwd=source.mirror, umask=_UMASK,
    )  # fmt: skip


def _name_origin(folder: Path, url: str) -> None:
    """Gives a new clone of a mirror the remote that a clone of `url` has.

    By hand, for `git config` and `git remote` would be a process each that every build waits for.
    """
    config = folder / ".git" / "config"
    kept: list[str] = []
    is_ours = False
    for line in config.read_text(errors="surrogateescape").splitlines(keepends=True):
        if line.startswith("["):
            is_ours = line.startswith('[remote "origin"]')
        if not is_ours:
            kept.append(line)
    quoted = url.replace("\\", "\\\\").replace('"', '\\"')
    kept.append(f'[remote "origin"]\n\turl = "{quoted}"\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n')
    config.write_text("".join(kept), errors="surrogateescape")


def _has_list(folder: Path) -> bool:
    """Whether there is a list of submodules. Raises `BuildError` for one that is too long."""
    try:
        found = (folder / ".gitmodules").lstat()
    except OSError:
        return False
    if stat.S_ISREG(found.st_mode) and found.st_size > MAX_LIST:
        raise BuildError(
            f"could not check out the submodules: .gitmodules has more than {MAX_LIST // 1024**2} MiB"
        )
    return stat.S_ISREG(found.st_mode)


async def _listed(folder: Path) -> dict[str, dict[str, str]]:
    """What .gitmodules says of each submodule, by name."""
    modules: dict[str, dict[str, str]] = {}
    entries = listed = 0

    def take(record: bytes) -> None:
        nonlocal entries, listed
        entries += 1
        listed += len(record)
        if listed > _MOST_LISTED:
            raise BuildError("could not check out the submodules: .gitmodules has too long names")
        if entries > _MOST_ENTRIES:
            raise BuildError(
                f"could not check out the submodules: .gitmodules has more than {_MOST_ENTRIES} entries"
            )
        key, _, value = record.decode("utf-8", "surrogateescape").partition("\n")
        name, _, variable = key.removeprefix("submodule.").rpartition(".")
        if key.startswith("submodule.") and name and variable in ("path", "url", "update"):
            modules.setdefault(name, {})[variable] = value

    await git_records("config", "--file", ".gitmodules", "--null", "--list", cwd=folder, take=take)
    return modules


async def _links(folder: Path) -> dict[str, str]:
    """The commits of the submodules, by path, as the commit that is checked out has them."""
    links: dict[str, str] = {}

    def take(record: bytes) -> None:
        if record.startswith(b"160000 "):
            entry, _, path = record.decode("utf-8", "surrogateescape").partition("\t")
            links[path] = entry.split()[1]

    await git_records("ls-files", "--stage", "-z", cwd=folder, take=take)
    return links


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
