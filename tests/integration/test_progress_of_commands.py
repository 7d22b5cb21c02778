"""Commands that take long show a bar on a terminal, which they take away again, and none elsewhere."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.server import COMMAND, Server

_CLEAR = "\r\x1b[K"


class Terminal:
    """A command whose standard error is a terminal."""

    def __init__(self, server: Server, *arguments: str, output: Path | None = None) -> None:
        self._screen, end = pty.openpty()
        target = subprocess.PIPE if output is None else os.open(output, os.O_WRONLY | os.O_CREAT)
        environment = {**server._environment, "TERM": "xterm"}  # pyright: ignore[reportPrivateUsage]
        command = [*COMMAND, "--url", server.url, *arguments]
        self.process = subprocess.Popen(command, env=environment, stdout=target, stderr=end)
        for number in (end, target):
            if number != subprocess.PIPE:
                os.close(number)

    def rest(self) -> tuple[int, str, str]:
        """The exit code, what stays on the screen, and all that was drawn in between."""
        drawn = b""
        with contextlib.suppress(OSError):  # the other end is closed
            while True:
                drawn += os.read(self._screen, 65536)
        os.close(self._screen)
        if self.process.stdout is not None:
            self.process.stdout.close()
        text = drawn.decode()
        return self.process.wait(), text.rpartition(_CLEAR)[2].replace("\r\n", "\n"), text


def test_backup_restore_doctor_and_download_show_a_bar_on_a_terminal(
    new_server: Callable[..., Server], tmp_path: Path
) -> None:
    server = new_server(executor="process", compress_after="off").start()
    job = server.run({"name": "good", "steps": ["seq 1 200000"]})["job"]["id"]
    log = tmp_path / "build.log"
    code, left, drawn = Terminal(server, "logs", str(job), output=log).rest()
    assert (code, left) == (0, "")
    assert re.search(r"downloading  \[#*-*\] +\d+ %  [\d.]+ \w+ of 1\.\d MiB", drawn)
    assert log.read_bytes() == server.get(f"/jobs/{job}/logs/stream").body
    # Who reads it may draw on the terminal itself.
    piped = Terminal(server, "logs", str(job))
    assert piped.process.stdout is not None and piped.process.stdout.read() == log.read_bytes()
    assert piped.rest()[1:] == ("", "")

    # A reader that takes its time, so that there is something to see.
    backup = Terminal(server, "backup", "-")
    assert backup.process.stdout is not None
    data = b""
    for _ in range(10):
        data += backup.process.stdout.read(50_000)
        time.sleep(0.05)
    data += backup.process.stdout.read()
    code, left, drawn = backup.rest()
    assert (code, left) == (0, f"1 build of {server.data} backed up to standard output\n")
    assert re.search(r"backing up  \[#*-+\] +\d+ %  [\d.]+ \w+ of 1\.\d MiB", drawn)
    (tmp_path / "backup.tar").write_bytes(data)

    restored = new_server("restored", executor="process")
    code, left, drawn = Terminal(restored, "restore", str(tmp_path / "backup.tar")).rest()
    assert (code, left) == (0, f"restored to {restored.data}; start the server\n")
    assert re.search(r"restoring  \[#*-+\] +\d+ %  [\d.]+ \w+ of 1\.\d MiB", drawn)
    findings = tmp_path / "findings"
    code, left, drawn = Terminal(restored, "doctor", output=findings).rest()
    assert (code, left, findings.read_text()) == (0, "", f"all is well in {restored.data}\n")
    assert "examining  the database" in drawn

    # Elsewhere than on a terminal, what is over within seconds says no more than it did.
    done = restored.command("backup", str(tmp_path / "again.tar"))
    assert done.stderr == f"1 build of {restored.data} backed up to {tmp_path / 'again.tar'}\n"
    assert restored.command("doctor").stderr == ""
