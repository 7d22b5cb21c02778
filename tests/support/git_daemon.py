"""A server of git for `git://` URLs, which can go away and come back."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

from tests.support.server import free_port, wait_for


class GitDaemon:
    """Serves the repositories in `folder`, also those whose work tree is there."""

    def __init__(self, folder: Path) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> GitDaemon:
        host, _, port = self.address.partition(":")
        self._process = subprocess.Popen(
            ["git", "daemon", f"--listen={host}", f"--port={port}", "--export-all", "--reuseaddr",
             f"--base-path={self._folder}", str(self._folder)],
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip

        def is_up() -> bool:
            with socket.socket() as client:
                return client.connect_ex((host, int(port))) == 0

        wait_for(is_up, "the git daemon listens")
        return self

    def stop(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGTERM)
            self._process.wait()
            self._process = None
