"""The agent's side of the conversation: what it is sent, and the markers found in what it prints.

`agent.sh` says what the commands and markers mean.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from rapidflow_web.pipeline.definition import StepDefinition
from rapidflow_web.pipeline.variables import OWN_OF_SHELLS

SCRIPT = (Path(__file__).parent / "agent.sh").read_text(encoding="utf-8")

BLOCK = 10240
"""Bytes in one block of the `unpack` command; also a record of tar, so that an archive has no odd end."""

_MOST_TO_MAKE = 4096
"""Bytes that a pipe takes in one piece. The agent's shell reads them one by one, in about a millisecond."""
_FOLDERS = ("rapidflow", "rapidflow/steps")
"""Where the agent can make files without a program that makes folders."""
_VARIABLES = "rapidflow/env"
"""The file with the variables of the build, also secret ones."""
_NO_SHELL = re.compile(
    r'exec:? "?/bin/sh"?: (?:stat /bin/sh: )?(exec format error|no such file or directory|permission denied)'
)
_START = b"\x1e"
_LONGEST_MARKER = 120
"""Bytes. A marker has a nonce of 32 and at most three short words; anything longer is output."""


def nonce_for(key: bytes, job_id: int) -> str:
    """The nonce of a job's markers: 32 hex digits, the same after a restart.

    It is in no environment, so that none is printed by accident; a step that wants to can find it.
    """
    return hmac.new(key, f"markers of job {job_id}".encode(), hashlib.sha256).hexdigest()[:32]


def command_line(root: str, output: str) -> list[str]:
    """The agent's command: `root` holds rapidflow/ and workspace/, `output` is "copy" or "file"."""
    return ["/bin/sh", "-c", SCRIPT, "rapidflow-agent", root, output]


def is_agent(command: str) -> bool:
    """Whether a process with this command line is the agent, or helps it."""
    return "rapidflow-agent" in command or command == "tee -a /rapidflow/log"


def run_command(order_num: int, post_status: str | None = None) -> bytes:
    """Runs a step. Safe to send again: the agent runs no step twice and none out of order.

    One that is `post` is given the build's status up to then, one word; no `RunningBuild.end_step` ends it.
    """
    if post_status is not None:
        return b"post %d %s\n" % (order_num, post_status.encode())
    return b"run %d\n" % order_num


def make_command(files: Mapping[str, bytes]) -> bytes | None:
    """Makes files, given by their paths in ROOT; None for those that need an archive."""
    commands = ["true"]
    for path, content in files.items():
        # Not every shell's `read` gives other bytes as they are.
        if str(PurePosixPath(path).parent) not in _FOLDERS or not content.isascii() or b"\0" in content:
            return None
        command = f'printf %s {shlex.quote(content.decode())} >"$rf_root"{shlex.quote(path)}'
        # 022 is what containers begin with.
        commands.append(f"umask 077 && {command} && umask 022" if path == _VARIABLES else command)
    text = " &&\n".join(commands) + "\n"
    lines = text.count("\n")
    command = f"make {lines} {len(text)}\n{text}".encode()
    return command if len(command) <= _MOST_TO_MAKE else None


def no_shell(words: str) -> str | None:
    """Why the agent can't run in an image, where an engine says `words`; None for other reasons."""
    if (found := _NO_SHELL.search(words)) is None:
        return None
    if found[1] == "exec format error":
        return "the image is made for another kind of processor than the machine's; take one that fits"
    return "the image has no working /bin/sh, with which all builds begin; take one that has a shell"


def is_post(command: bytes) -> bool:
    """Whether it runs a step that is `post`."""
    return command.startswith(b"post ")


def write_scripts(
    home: Path,
    steps: Sequence[StepDefinition],
    environment: Mapping[str, str],
    workdir: PurePosixPath,
) -> None:
    """Writes what the agent needs to run `steps` into the folder `home`, which becomes ROOT/rapidflow.

    `workdir` is the path, where the build runs, in which the steps start.
    """
    (home / "steps").mkdir(parents=True, exist_ok=True)  # an agent that runs here has made it
    (home / "workdir").write_text(f"cd -- {shlex.quote(str(workdir))}\n", encoding="utf-8")
    (home / "env").touch(0o600)
    (home / "env").write_text(_assignments(environment), encoding="utf-8", newline="")
    for order_num, step in enumerate(steps, 1):
        (home / "steps" / f"{order_num}.{step.type}").write_text(step.content, encoding="utf-8", newline="")
        for name, text in step.files.items():
            path = home / "steps" / f"{order_num}.files" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="")
        if step.files:
            links = home / "steps" / f"{order_num}.links"
            links.write_text(_against_links(step.files), encoding="utf-8", newline="")


def _against_links(names: Iterable[str]) -> str:
    """Commands after which no file of `names` is written through a link that the repository has there."""
    folders = {folder for name in names for folder in PurePosixPath(name).parents} - {PurePosixPath(".")}
    lines = [
        f"if [ -h {link} ]; then echo {message} >&2; exit 1; fi\n"
        for link, message in (
            (shlex.quote(f"./{folder}"), shlex.quote(f"no file is written through the link '{folder}'"))
            for folder in sorted(folders)
        )
    ]
    lines += [
        f"if [ -h {link} ]; then rm -f {link} || exit; fi\n"
        for link in (shlex.quote(f"./{name}") for name in names)
    ]
    return "".join(lines)


def _assignments(environment: Mapping[str, str]) -> str:
    """What gives the process that a shell is about to run, its "$@", the variables in `environment`."""
    lines = [
        f"export {key}={shlex.quote(value)}\n"
        for key, value in environment.items()
        if key not in OWN_OF_SHELLS
    ]
    if own := [f"{key}={shlex.quote(value)}" for key, value in environment.items() if key in OWN_OF_SHELLS]:
        lines.insert(0, f'set -- "$(command -v env)" {" ".join(own)} "$@"\n')
    return "".join(lines)


@dataclass(frozen=True, slots=True)
class Output:
    """Bytes that a step printed. `source` is the offset in the agent's output after them."""

    data: bytes
    source: int


@dataclass(frozen=True, slots=True)
class Marker:
    """A marker's words, e.g. ("exit", "2", "0"). `source` is the offset in the agent's output after it."""

    words: tuple[str, ...]
    source: int

    def numbers(self, begin: int, end: int | None = None) -> list[int] | None:
        """The words from `begin` to `end` as numbers; None where one is no number of at most 9 digits.

        A step can read the nonce where the agent keeps it, and print what it likes.
        """
        words = self.words[begin:end]
        if all(word.isascii() and word.isdigit() and len(word) <= 9 for word in words):
            return [int(word) for word in words]
        return None


class MarkerParser:
    """Splits the agent's output into what the steps printed and the markers, whatever the chunks.

    `source` is the offset, in bytes, in the agent's output at which the first chunk begins.
    """

    def __init__(self, nonce: str, source: int = 0) -> None:
        self._prefix = _START + nonce.encode() + b" "
        self._held = b""
        self._source = source

    def feed(self, chunk: bytes) -> Iterator[Output | Marker]:
        """Yields what `chunk` completes. What may be the beginning of a marker is kept for the next call."""
        data = self._held + chunk if self._held else chunk
        self._held = b""
        if _START not in data:
            # Mostly so, and ten times as fast to find out as that the whole prefix is nowhere.
            if output := self._output(data):
                yield output
            return
        # Nothing is cut off `data` on the way: a step that knows the nonce may print nothing but markers.
        begin = position = 0
        # For all of the prefix at once: a step may print nothing but its first byte.
        while (found := data.find(self._prefix, position)) >= 0:
            end = data.find(b"\n", found, found + _LONGEST_MARKER) + 1
            if end == 0:
                if len(data) - found < _LONGEST_MARKER:
                    break
                position = found + 1
                continue
            if output := self._output(data[begin:found]):
                yield output
            self._source += end - found
            words = data[found + len(self._prefix) : end - 1].decode("ascii", "replace").split()
            yield Marker(tuple(words), self._source)
            begin = position = end
        else:
            found = self._beginning(data, begin)
        if output := self._output(data[begin:found]):
            yield output
        self._held = data[found:]

    def flush(self) -> Iterator[Output]:
        """Yields what was kept, when no more chunks come."""
        held, self._held = self._held, b""
        if output := self._output(held):
            yield output

    def _output(self, data: bytes) -> Output | None:
        if not data:
            return None
        self._source += len(data)
        return Output(data, self._source)

    def _beginning(self, data: bytes, begin: int) -> int:
        """Where, from `begin` on, the last bytes may begin a prefix; the size of `data` if they can't."""
        # The byte that begins a prefix is nowhere else in it.
        found = data.rfind(_START, max(begin, len(data) - len(self._prefix) + 1))
        return found if found >= 0 and self._prefix.startswith(data[found:]) else len(data)
