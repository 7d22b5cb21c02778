"""The working tree around a folder as a commit without parents, with git and nothing else.

It has what git tracks and the new files that git does not ignore, as they are on the disk. The repository is
left as it is: index and objects are made elsewhere.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import tempfile
from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from rapidflow_web.cli.client import ClientError
from rapidflow_web.pipeline.definition_files import FILE, FOLDER, is_definition

_OF_A_REPOSITORY = (
    "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_NAMESPACE",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_PREFIX",
)  # fmt: skip
"""Variables that a hook has, and that would have git work elsewhere."""
_PLAIN = ("-c", "advice.addEmbeddedRepo=false", "-c", "core.safecrlf=false")
_WHOLE_INDEX = ("-c", "core.splitIndex=false")
"""Otherwise git writes a part of a split index beside that of the repository."""
_WITHOUT_LFS = (
    "-c", "filter.lfs.clean=cat", "-c", "filter.lfs.process=", "-c", "filter.lfs.required=false",
)  # fmt: skip
"""Options with which files in Git LFS are added themselves, for the server may not have what is new."""
_PACK = "pack-objects", "--revs", "--stdout", "--quiet", "--window=0"
"""Of one version of each file: to look for differences between files takes long, and makes little smaller."""
_LINK, _SUBMODULE = "120000", "160000"
_LEFT_OUT = "S "
"""How `ls-files -t` marks files that git does not look for in the work tree."""
_STATES = {"A": "new", "D": "deleted"}


@dataclass(frozen=True, slots=True)
class DefinitionText:
    """A definition file of a working tree; `text` is None where it is no file, such as a link."""

    path: str
    text: str | None


@dataclass(frozen=True, slots=True)
class Packed:
    """A working tree as a commit in a pack."""

    commit: str
    pack: Path
    definitions: tuple[DefinitionText, ...]
    remarks: tuple[str, ...]

    @property
    def size(self) -> int:
        """Bytes of the pack."""
        return self.pack.stat().st_size


class WorkingTree:
    """The work tree of the repository around `folder`, or the one that it is. Raises `ClientError`."""

    def __init__(self, folder: Path) -> None:
        try:
            self.root = Path(_git(folder, "rev-parse", "--show-toplevel").removesuffix("\n"))
        except GitFailed as error:
            raise ClientError(f"{folder} is not in the work tree of a git repository: {error}") from None

    def remotes(self) -> list[str]:
        """The URLs of the remotes, of `origin` first, each also as the configuration of git rewrites it."""
        names = _git(self.root, "remote").splitlines()
        found: list[str] = []
        for name in sorted(names, key=lambda name: name != "origin"):
            with contextlib.suppress(GitFailed):  # one without a URL
                found.append(_git(self.root, "config", f"remote.{name}.url").strip())
                found.append(_git(self.root, "ls-remote", "--get-url", name).strip())
        return found

    @contextlib.contextmanager
    def packed(self) -> Generator[Packed]:
        """Packs it as it is now, until the end of the context. Raises `ClientError`."""
        with tempfile.TemporaryDirectory(prefix="rapidflow-") as name:
            try:
                packed = _Packing(Path(name)).run(self.root)
            except GitFailed as error:
                raise ClientError(f"could not pack the working tree of {self.root}: {error}") from None
            yield packed


class GitFailed(ClientError):
    """What git said when it failed."""


class _Packing:
    """Packs one working tree, with what it makes in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._objects = folder / "objects"
        self._objects.mkdir()
        self._sources: list[str] = []
        self._indexes = 0
        self._remarks: list[str] = []

    def run(self, root: Path) -> Packed:
        environment = self._environment(root)
        tree = self._tree(root, environment, "")
        base = _head(root)
        # With the objects of submodules, which their repositories have.
        environment = self._environment(root)
        title = f"Working tree of {_user(root)}" + (f" at {base[:12]}" if base is not None else "")
        words = f"{title}\n\n" + (f"Based on {base}\n" if base is not None else "Based on no commit\n")
        commit = _git(root, "commit-tree", tree, more=environment | _identity(root), given=words).strip()
        pack = self._folder / "pack"
        with pack.open("wb") as file:
            _run(root, _PACK, environment, f"{commit}\n", file)
        return Packed(commit, pack, tuple(_definitions(root, environment, tree)), tuple(self._remarks))

    def _environment(self, root: Path) -> dict[str, str]:
        """Variables with which new objects are written apart from those that are there."""
        own = _absolute(root, _git(root, "rev-parse", "--git-path", "objects"))
        if own not in self._sources:
            self._sources.append(own)
        alternates = ":".join(_quoted(path) for path in self._sources)
        return {
            "GIT_OBJECT_DIRECTORY": str(self._objects),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": alternates,
        }

    def _tree(self, root: Path, environment: Mapping[str, str], within: str) -> str:
        """Writes the tree of a work tree, with the files of the repositories in it. Returns its id."""
        self._indexes += 1
        index = self._folder / f"index-{self._indexes}"
        own = Path(_absolute(root, _git(root, "rev-parse", "--git-path", "index")))
        if own.exists():
            # What git knows of unchanged files is in it, and which ignored files it tracks.
            _copy(own, index)
        environment = {**environment, "GIT_INDEX_FILE": str(index)}
        _add(root, *_PLAIN, *_WITHOUT_LFS, "add", "--all", ".", more=environment)
        if not within and (base := _head(root)) is not None:
            self._remarks.append(_changes(root, environment, base))
        listed = _git(root, "ls-files", "-t", "-z", "--", ":(attr:filter=lfs)", more=environment)
        # Not those that a sparse checkout leaves out.
        entries = listed.split("\0")[:-1]
        if in_lfs := "\0".join(entry[2:] for entry in entries if not entry.startswith(_LEFT_OUT)):
            command = "add", "--renormalize", "--pathspec-from-file=-", "--pathspec-file-nul"
            _add(root, "--literal-pathspecs", *_WITHOUT_LFS, *command, more=environment, given=in_lfs)
        for entry in _git(root, "ls-files", "--stage", "-z", more=environment).split("\0"):
            head, _, path = entry.partition("\t")
            if head.startswith(_SUBMODULE):
                environment = self._inline(root, path, environment, f"{within}{path}")
        return _git(root, "write-tree", more=environment).strip()

    def _inline(self, root: Path, path: str, environment: dict[str, str], shown: str) -> dict[str, str]:
        """Puts the files of a repository in the work tree in place of the link to its commit."""
        folder = root / path
        if not (folder / ".git").exists():
            self._remarks.append(
                f"the submodule '{shown}' is not initialised; the server fetches it without a login"
            )
            return environment
        tree = self._tree(folder, self._environment(folder), f"{shown}/")
        environment = environment | self._environment(root)
        _git(root, "update-index", "--force-remove", "--", path, more=environment)
        _git(root, "read-tree", f"--prefix={path}/", tree, more=environment)
        return environment


def _add(root: Path, *arguments: str, more: Mapping[str, str], given: str = "") -> None:
    try:
        _git(root, *arguments, more=more, given=given)
    except GitFailed as error:
        if "sparse-checkout" not in str(error):
            raise
        # Git that says so has this option, which older git has not.
        where = arguments.index("add") + 1
        _git(root, *arguments[:where], "--sparse", *arguments[where:], more=more, given=given)


def _head(root: Path) -> str | None:
    with contextlib.suppress(GitFailed):
        return _git(root, "rev-parse", "--verify", "--quiet", "HEAD^{commit}").strip()
    return None


def _changes(root: Path, environment: Mapping[str, str], base: str) -> str:
    """How many files in the index differ from the commit that is checked out."""
    command = "diff-index", "--cached", "--no-renames", "--ignore-submodules", "--name-status", "-z", base
    records = _git(root, *command, more=environment).split("\0")
    counts = Counter(_STATES.get(state, "changed") for state in records[:-1:2])
    said = ", ".join(f"{counts[word]} {word}" for word in ("changed", "new", "deleted") if counts[word])
    return f"the working tree is {base[:12]}" + (f" with files {said}" if said else " without changes")


def _definitions(root: Path, environment: Mapping[str, str], tree: str) -> Iterator[DefinitionText]:
    listing = _git(root, "ls-tree", "-z", tree, "--", FILE, f"{FOLDER}/", more=environment)
    for record in listing.split("\0")[:-1]:
        head, _, path = record.partition("\t")
        mode, kind, blob = head.split()
        if not is_definition(PurePosixPath(path)):
            continue
        is_file = kind == "blob" and mode != _LINK
        text: str | None = None
        with contextlib.suppress(UnicodeDecodeError):  # the server says what is wrong
            text = _run(root, ("cat-file", "blob", blob), environment).decode() if is_file else None
        yield DefinitionText(path, text)


def _copy(index: Path, target: Path) -> None:
    """Copies an index with its time: git looks into files that are as new as the index, for those may have
    changed since without another size or time."""
    with index.open("rb") as source, target.open("wb") as copy:
        shutil.copyfileobj(source, copy)
        times = os.fstat(source.fileno())
    os.utime(target, ns=(times.st_atime_ns, times.st_mtime_ns))


def _user(root: Path) -> str:
    return _configured(root, "user.name") or _login_name()


def _identity(root: Path) -> dict[str, str]:
    mail = _configured(root, "user.email") or f"{_login_name()}@{socket.gethostname()}"
    who = {"NAME": _user(root), "EMAIL": mail}
    return {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in who.items()}


def _configured(root: Path, key: str) -> str:
    with contextlib.suppress(GitFailed):
        return _git(root, "config", key).strip()
    return ""


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no user of this machine, as in a container with any uid
        return "somebody"


def _absolute(root: Path, path: str) -> str:
    return str((root / path.removesuffix("\n")).absolute())


def _quoted(path: str) -> str:
    """A path in a list that colons separate, as git reads it."""
    if ":" not in path and not path.startswith('"'):
        return path
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _git(folder: Path, *arguments: str, more: Mapping[str, str] | None = None, given: str = "") -> str:
    """What git prints. Raises `GitFailed`."""
    return os.fsdecode(_run(folder, arguments, more or {}, given))


def _run(
    folder: Path,
    arguments: tuple[str, ...],
    more: Mapping[str, str],
    given: str = "",
    output: int | IO[bytes] = subprocess.PIPE,
) -> bytes:
    kept = {key: value for key, value in os.environ.items() if key not in _OF_A_REPOSITORY}
    try:
        done = subprocess.run(  # noqa: S603
            ["git", *_WHOLE_INDEX, *arguments],  # noqa: S607
            cwd=folder,
            env={**kept, "LC_ALL": "C", **more},
            input=os.fsencode(given),
            stdout=output,
            stderr=subprocess.PIPE,
            check=False,
        )
    except FileNotFoundError as error:
        raise ClientError("git is not installed; a working tree is packed with it") from error
    if done.returncode != 0:
        words = " ".join(done.stderr.decode("utf-8", "replace").split())
        raise GitFailed(words.removeprefix("fatal: ")[:1000] or f"git {arguments[0]} failed")
    return done.stdout or b""
