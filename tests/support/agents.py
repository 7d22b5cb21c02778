"""The agent as a plain process of this machine, and what tests do with it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from rapidflow_web.executors.agent import protocol
from rapidflow_web.pipeline.definition import StepDefinition
from tests.support.server import wait_for

SHELLS = {
    "dash": ["dash"],
    "busybox": ["busybox", "sh"],
    "bash": ["bash"],
    "bash-posix": ["bash", "--posix"],
}
NONCE = protocol.nonce_for(b"key", 1)
_MARK = "RAPIDFLOW_TEST_ROOT"


class Agent:
    """A started agent that was not told its nonce yet. Its root is the folder `root`."""

    def __init__(
        self,
        root: Path,
        shell: Sequence[str],
        output: str = "copy",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.root = root
        self.home = root / "rapidflow"
        self.raw = b""
        """All that it printed, without the line that says it waits."""
        self.waiting = b""
        """That line, where its output is copied."""
        self.items: list[protocol.Output | protocol.Marker] = []
        self._read = threading.Event()
        self._read.set()
        self.process = subprocess.Popen(
            [*shell, *protocol.command_line(str(root), output)[1:]],
            env={**os.environ, **(environment or {}), _MARK: str(root)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            start_new_session=True,
        )
        self._says_waiting = output == "copy"
        self._parser = protocol.MarkerParser(NONCE)
        self._thread = threading.Thread(target=self._read_on, daemon=True)
        self._thread.start()

    def _read_on(self) -> None:
        assert self.process.stdout is not None
        while chunk := self.process.stdout.read(65536):
            if self._says_waiting and not self.waiting.endswith(b"\n"):
                line, newline, chunk = chunk.partition(b"\n")
                self.waiting += line + newline
            self.raw += chunk
            self.items += self._parser.feed(chunk)
            self._read.wait()
        self.items += self._parser.flush()

    def pause(self) -> None:
        """Reads at most once more before `go_on`."""
        self._read.clear()

    def go_on(self) -> None:
        self._read.set()

    def send(self, data: bytes) -> None:
        """Writes to its standard input."""
        assert self.process.stdin is not None
        left = memoryview(data)
        while left:
            left = left[self.process.stdin.write(left) or 0 :]

    def begin(self, wait: bool = True) -> None:
        """Tells it the nonce and waits until it is ready."""
        self.send(f"{NONCE}\n".encode())
        if wait:
            self.wait_marker("ready")

    @property
    def markers(self) -> list[tuple[str, ...]]:
        """The markers so far, without the first."""
        return [item.words for item in self.items if isinstance(item, protocol.Marker)][1:]

    @property
    def output(self) -> bytes:
        """All output so far, markers taken out."""
        return b"".join(item.data for item in self.items if isinstance(item, protocol.Output))

    def wait_marker(self, *words: str) -> tuple[str, ...]:
        """Waits for a marker that begins with `words`; returns all of its words."""

        def found() -> list[tuple[str, ...]]:
            items = list(self.items)
            markers = [item.words for item in items if isinstance(item, protocol.Marker)]
            return [marker for marker in markers if marker[: len(words)] == words]

        wait_for(found, f"the agent says {words}")
        return found()[0]

    def wait_output(self, text: bytes) -> None:
        wait_for(lambda: text in self.output, f"the agent prints {text!r}")

    def run(self, *numbers: int) -> list[tuple[str, ...]]:
        """Runs steps, one after the other; returns the ends of their exit markers."""
        ends: list[tuple[str, ...]] = []
        for number in numbers:
            self.send(protocol.run_command(number))
            ends.append(self.wait_marker("exit", str(number))[2:])
        return ends

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    def end(self) -> int:
        """Closes its input and waits for its end; returns its exit code. Its output may go on."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(timeout=30)

    def end_all(self) -> int:
        """Closes its input, waits for its end and that of its output; returns its exit code."""
        assert self.process.stdout is not None
        code = self.end()
        self._thread.join(timeout=30)
        assert not self._thread.is_alive(), "the output did not end"
        self.process.stdout.close()
        return code

    def kill(self) -> None:
        """Ends it and all that it left behind."""
        self.go_on()
        mark = f"{_MARK}={self.root}".encode()
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and mark in (entry / "environ").read_bytes().split(b"\0"):
                    os.kill(int(entry.name), signal.SIGKILL)
        self.end_all()


def write(
    root: Path,
    steps: Sequence[str | StepDefinition],
    environment: Mapping[str, str] | None = None,
    folder: str = "",
    home: Path | None = None,
) -> None:
    """Writes the scripts of `steps` to where the agent with this root looks for them, or else to `home`."""
    workdir = root / "workspace" / folder
    workdir.mkdir(parents=True, exist_ok=True)
    definitions = [step if isinstance(step, StepDefinition) else StepDefinition(step) for step in steps]
    protocol.write_scripts(home or root / "rapidflow", definitions, environment or {}, PurePosixPath(workdir))


Start = Callable[..., Agent]
"""Starts an agent with the given steps."""
