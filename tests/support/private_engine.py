"""A Docker engine of a test's own, which may be restarted: the one of the machine has other guests."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.support import engine_api
from tests.support.builds import processes_of
from tests.support.server import wait_for

_START = (
    "ip link set lo up; exec dockerd --data-root {0}/data --exec-root {0}/exec --pidfile {0}/pid "
    "--host unix://{0}/engine.sock"
)


class PrivateEngine:
    """In a network of its own. With `live_restore` containers outlive it. `host` is for DOCKER_HOST."""

    def __init__(self, *, live_restore: bool, labels: Sequence[str] = ()) -> None:
        self.labels = labels
        """What it is labelled with from its next start on, each as name=value."""
        # The path of a socket must be short.
        self._folder = Path(tempfile.mkdtemp(prefix="rf-engine-"))
        self._log = self._folder / "log"
        self._live_restore = live_restore
        self.host = f"unix://{self._folder}/engine.sock"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Starts it and waits until it answers."""
        (self._folder / "pid").unlink(missing_ok=True)
        command = _START.format(self._folder)
        if self._live_restore:
            command += " --live-restore"
        for label in self.labels:
            command += f" --label {shlex.quote(label)}"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                ["unshare", "--net", "sh", "-c", command], stdout=log, stderr=log, start_new_session=True
            )
        wait_for(lambda: engine_api.answers(self.host), "the engine answers")

    def stop(self) -> None:
        """Ends it as its service manager would."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """kill -STOP: connections stay, and nothing is answered."""
        self._send(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        self._send(signal.SIGCONT)

    def _send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def load(self, image: str) -> None:
        """Copies an image of the machine's engine."""
        with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as saved:
            self.docker("load", stdin=saved.stdout, check=True)

    def docker(self, *arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
        """Runs the docker command on it."""
        environment = {**os.environ, "DOCKER_HOST": self.host}
        return subprocess.run(  # type: ignore[call-overload]
            ["docker", *arguments], env=environment, capture_output=True, text=True, **options
        )

    def close(self) -> None:
        """Ends it with all that it has."""
        with contextlib.suppress(OSError):  # a test may have left it dead
            for container in engine_api.ids(self.host):
                self.docker("rm", "--force", container)
        self.stop()
        # An engine that was killed knows some of its own no more.
        for process in processes_of(self._folder, [f"{self._folder}/"]):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(process.split()[0]), signal.SIGKILL)
        for mount in sorted(_mounts_below(self._folder), reverse=True):
            subprocess.run(["umount", "--lazy", mount])
        shutil.rmtree(self._folder, ignore_errors=True)

    def _end(self, number: signal.Signals) -> None:
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(number)
            self._process.wait(timeout=60)


def _mounts_below(folder: Path) -> list[str]:
    lines = Path("/proc/mounts").read_text().splitlines()
    return [line.split()[1] for line in lines if line.split()[1].startswith(f"{folder}/")]
