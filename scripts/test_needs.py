"""What `make test` and `make bench` need on the machine: Debian packages and a Docker engine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from scripts import debian, engine

_COMMANDS = {
    "bash-static": "bash-static",
    "busybox": "busybox-static",
    "chattr": "e2fsprogs",
    "chromium-headless-shell": "chromium-headless-shell",
    "curl": "curl",
    "debootstrap": "debootstrap",
    "docker-compose": "docker-compose",
    "faketime": "faketime",
    "git": "git",
    "git-lfs": "git-lfs",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "openssl": "openssl",
    "pgrep": "procps",
    "systemd-analyze": "systemd",
    "tar": "tar",
    "tmux": "tmux",
    "wrk": "wrk",
}
_CLIENT = {"docker": "docker.io"}
_POSTGRES = Path("/usr/lib/postgresql")
_SSHD = Path("/usr/sbin/sshd")


def main() -> None:
    """Installs what is missing; ends with a sentence where that can't be done."""
    missing = debian.provide(_COMMANDS)
    if _is_dynamic("/bin/busybox") and not debian.install("busybox-static"):
        missing.append("a static busybox")
    if not list(_POSTGRES.glob("*/bin/postgres")) and not debian.install("postgresql"):
        missing.append("postgres")
    if not _SSHD.exists() and not _install_sshd():
        missing.append("sshd")
    # The engine first: it brings the client.
    problem = engine.ensure()
    missing += debian.provide(_CLIENT)
    if missing:
        sys.exit(f"The tests need {', '.join(missing)}; install what is missing.")
    if problem:
        sys.exit(f"The tests need a Docker engine: {problem}.")


def _install_sshd() -> bool:
    done = debian.install("openssh-server")
    if done and Path("/run/systemd/system").exists():
        # The tests start their own; this one would listen to everybody.
        subprocess.run(["systemctl", "disable", "--now", "ssh.service"])
    return done


def _is_dynamic(program: str) -> bool:
    """Whether a program needs libraries, so that it would not run alone in an image."""
    return Path(program).exists() and subprocess.run(["ldd", program], capture_output=True).returncode == 0


if __name__ == "__main__":
    main()
