"""Test images, made from Debian packages because no registry can be reached. Each is made once per engine."""

from __future__ import annotations

import fcntl
import functools
import os
import re
import shutil
import ssl
import subprocess
import tempfile
from pathlib import Path

from tests.support import engine_api

BASH = "rapidflow-test/bash:1"
"""busybox and bash, 5 MB."""
BUSYBOX = "rapidflow-test/busybox:1"
"""busybox alone: no bash."""
ENTRYPOINT = "rapidflow-test/entrypoint:1"
"""An image whose entrypoint is not a shell, with a stop signal and a health check of its own."""
USER = "rapidflow-test/user:1"
"""An image whose USER is not root."""
NO_TAR = "rapidflow-test/no-tar:2"
"""An image without tar, so that the agent can't unpack."""
DEBIAN = "rapidflow-test/debian:1"
"""Debian with python3, pytest and a C compiler."""
PYTHON = "rapidflow-test/python:1"
"""Debian with Python, its venv module and what pip needs to install from where this machine does; no git."""
POSTGRES = "rapidflow-test/postgres-server:1"
"""The PostgreSQL of this machine, with busybox; runs as a user that is not root."""

RELAY = "rapidflow-test/relay:1"
"""The relay's image, on Debian."""

_CHECKOUT = Path(__file__).parents[2]
_PASSWD = "root:x:0:0:root:/root:/bin/sh\nbuilder:x:1234:1235:builder:/home/builder:/bin/sh\n"
_GROUP = "root:x:0:\nbuilder:x:1235:\n"
_PACKAGES = "git,python3,python3-dev,python3-setuptools,python3-pytest,gcc,libc6-dev,make"


def exists(image: str) -> bool:
    """Whether the engine has the image."""
    return bool(id_of(image))


def id_of(image: str) -> str:
    """The id of an image; empty if the engine does not have it."""
    status, found = engine_api.ask("GET", f"/images/{image}/json")
    return found["Id"] if status == 200 else ""


@functools.cache
def ensure(image: str) -> str:
    """Makes the image unless the engine has it; returns its name."""
    # Tests run in several processes.
    with (Path(tempfile.gettempdir()) / "rapidflow-test-images.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not exists(image):
            if image == PYTHON:
                if not exists(DEBIAN):
                    _debian(DEBIAN)
                _python(image)
            elif image == DEBIAN:
                _debian(image)
            elif image == POSTGRES:
                _postgres(image)
            else:
                _busybox(image)
    return image


def _busybox(image: str) -> None:
    changes = {
        ENTRYPOINT: ['ENTRYPOINT ["/bin/false"]', "STOPSIGNAL SIGQUIT", "HEALTHCHECK CMD false"],
        USER: ["USER builder", "WORKDIR /home/builder"],
    }
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        _put_busybox(root)
        if image != BUSYBOX:
            shutil.copy("/bin/bash-static", root / "bin/bash")
        if image == NO_TAR:
            (root / "bin/tar").unlink()
            # busybox's own sh would have its tar all the same.
            (root / "bin/sh").unlink()
            (root / "bin/sh").symlink_to("bash")
        _import(root, image, changes.get(image, []))


def _put_busybox(root: Path) -> None:
    for folder in ("bin", "etc", "root", "home/builder", "tmp"):
        (root / folder).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    (root / "etc/passwd").write_text(_PASSWD)
    (root / "etc/group").write_text(_GROUP)
    shutil.copy("/bin/busybox", root / "bin/busybox")
    applets = subprocess.run(["/bin/busybox", "--list"], capture_output=True, text=True, check=True)
    for applet in applets.stdout.split():
        if applet != "busybox":
            (root / "bin" / applet).symlink_to("busybox")
    subprocess.run(["chown", "-R", "1234:1235", str(root / "home/builder")], check=True)


def _postgres(image: str) -> None:
    programs = max(Path("/usr/lib/postgresql").glob("*/bin"))
    found = [programs / name for name in ("initdb", "pg_ctl", "postgres", "psql")]
    found += [programs.parent / "lib" / name for name in ("dict_snowball.so", "plpgsql.so")]
    linked = subprocess.run(["ldd", *found], capture_output=True, text=True, check=True).stdout
    libraries = {Path(one) for one in re.findall(r"(/\S+) \(0x", linked)}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        _put_busybox(root)
        for file in {*found, *libraries}:
            there = root / file.relative_to("/")
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, there)
        data = Path("/usr/share/postgresql") / programs.parent.name
        shutil.copytree(data, root / data.relative_to("/"))
        _import(root, image, [f"ENV PATH={programs}:/bin", "USER builder"])


def _debian(image: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        subprocess.run(
            ["debootstrap", "--variant=minbase", f"--include={_PACKAGES}", "bookworm", name],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        shutil.rmtree(Path(name) / "var/cache/apt/archives", ignore_errors=True)
        _import(Path(name), image, ['CMD ["bash"]'])


def _python(image: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        context = Path(name)
        certificates = os.environ.get("PIP_CERT") or ssl.get_default_verify_paths().cafile
        shutil.copy(certificates or "/etc/ssl/certs/ca-certificates.crt", context / "machine.crt")
        (context / "Dockerfile").write_text(
            f"FROM {DEBIAN}\n"
            "RUN apt-get update && apt-get purge --yes git && apt-get install --yes python3-venv\n"
            "COPY machine.crt /etc/ssl/machine.crt\n"
            "ENV PIP_CERT=/etc/ssl/machine.crt\n"
        )
        build(image, context)


@functools.cache
def relay() -> str:
    """Builds the relay's image, whose program may have changed; returns its name."""
    base = ensure(DEBIAN)
    with (Path(tempfile.gettempdir()) / "rapidflow-test-images.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = id_of(RELAY)
        build(RELAY, _CHECKOUT, "relay", BASE=base)
        if before and before != id_of(RELAY):
            subprocess.run(["docker", "image", "rm", before], capture_output=True)
    return RELAY


def build(image: str, context: Path, target: str = "", **arguments: str) -> None:
    """Builds an image from the Dockerfile in `context`, with the values of its arguments."""
    options = [f"--build-arg={name}={value}" for name, value in arguments.items()]
    done = subprocess.run(
        ["docker", "build", *options, f"--target={target}", "--tag", image, str(context)],
        env={**os.environ, "DOCKER_BUILDKIT": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:]


def _import(root: Path, image: str, changes: list[str]) -> None:
    options = [word for change in changes for word in ("--change", change)]
    with subprocess.Popen(["tar", "-C", str(root), "-c", "."], stdout=subprocess.PIPE) as tar:
        subprocess.run(
            ["docker", "import", *options, "-", image],
            stdin=tar.stdout,
            check=True,
            stdout=subprocess.DEVNULL,
        )
