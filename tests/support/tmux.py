"""tmux as a terminal to compare with: what its screen shows of bytes, by `capture-pane`.

As a program, in a pane: `tmux.py FILE` shows the lines of a JSON file one after the other, on an empty screen
each, and writes what `capture-pane` says of them beside it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import termios
import time
import tty
from pathlib import Path

_WIDTH, _HEIGHT = 100, 4
_SECONDS = 60


def screens(lines: list[bytes], folder: Path) -> list[str]:
    """What a screen shows of each line, with the sequences that bring its styles back."""
    request = folder / "lines.json"
    request.write_text(json.dumps([line.decode("latin-1") for line in lines]))
    socket = folder / "tmux"
    tmux = ("tmux", "-u", "-S", str(socket), "-f", "/dev/null")
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "TERM": "xterm-256color"}
    program = f"exec {sys.executable} {__file__} {request}"
    size = ("-x", str(_WIDTH), "-y", str(_HEIGHT + 1))
    subprocess.run([*tmux, "new-session", "-d", *size, program], check=True, env=environment)
    answer = request.with_suffix(".answer")
    try:
        end = time.monotonic() + _SECONDS
        while not answer.exists() and time.monotonic() < end:
            time.sleep(0.05)
    finally:
        subprocess.run([*tmux, "kill-server"], capture_output=True)
    return json.loads(answer.read_text())


def _main() -> None:
    request = Path(sys.argv[1])
    found: list[str] = []
    before = termios.tcgetattr(0)
    tty.setraw(0)
    for line in json.loads(request.read_text()):
        _show(b"\x1bc\x1b[2J\x1b[H")
        _show(line.encode("latin-1"))
        pane = os.environ["TMUX_PANE"]
        done = subprocess.run(
            ["tmux", "capture-pane", "-e", "-p", "-t", pane], capture_output=True, check=True
        )
        found.append(done.stdout.decode("utf-8", "replace"))
    termios.tcsetattr(0, termios.TCSANOW, before)
    part = request.with_suffix(".part")
    part.write_text(json.dumps(found))
    part.rename(request.with_suffix(".answer"))


def _show(data: bytes) -> None:
    """Prints, and waits until the terminal has read it, which it says by an answer to a question."""
    os.write(1, data + b"\x1b\\\x1b[5n")
    answer = b""
    while not answer.endswith(b"\x1b[0n"):
        answer += os.read(0, 100)


if __name__ == "__main__":
    _main()
