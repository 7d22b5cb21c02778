"""A real ssh server on a free port of 127.0.0.1, with keys of its own."""

from __future__ import annotations

import getpass
import os
import socket
import subprocess
from pathlib import Path

from tests.support.server import free_port, wait_for

_PROGRAM = "/usr/sbin/sshd"
_PRIVILEGES = Path("/run/sshd")
"""Without this folder sshd does not start as root."""


class Sshd:
    """Lets in whoever has the key in `folder`/user. `port` stays the same when it is started again."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.port = free_port()
        self.host = f"[127.0.0.1]:{self.port}"
        self.identity = folder / "user"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        make_key(self.identity)
        (folder / "authorized").write_text(self.identity.with_suffix(".pub").read_text())
        self.change_key()

    def url(self, path: Path) -> str:
        """The clone URL of a repository at `path`."""
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}{path}"

    def change_key(self) -> None:
        """Makes a new host key, and starts the server with it."""
        self.stop()
        key = self._folder / "host"
        key.unlink(missing_ok=True)
        make_key(key)
        if os.getuid() == 0:
            _PRIVILEGES.mkdir(exist_ok=True)
        config = self._folder / "config"
        config.write_text(
            f"ListenAddress 127.0.0.1:{self.port}\nHostKey {key}\nPidFile none\n"
            f"AuthorizedKeysFile {self._folder}/authorized\n"
            "UsePAM no\nStrictModes no\nPermitRootLogin yes\nPasswordAuthentication no\n"
        )
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen([_PROGRAM, "-D", "-e", "-f", str(config)], stderr=log)
        wait_for(self._answers, "the ssh server answers")

    def known(self) -> str:
        """The line of known_hosts that knows this server."""
        kind, key = (self._folder / "host.pub").read_text().split()[:2]
        return f"{self.host} {kind} {key}\n"

    def stop(self) -> None:
        """Ends it. Safe to call again."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        assert self._process is not None and self._process.poll() is None, (self._folder / "log").read_text()
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True


def make_key(path: Path) -> None:
    """Makes a key without a passphrase."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
