"""Images in which no build can run say why, in words for whoever chose them."""

from __future__ import annotations

import shutil
import subprocess
import uuid
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.server import Server


def foreign(shell: Path) -> None:
    """As a program for another processor is to the system."""
    shell.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(60))
    shell.chmod(0o755)


def without_loader(shell: Path) -> None:
    """A program whose libraries are not in the image."""
    shutil.copy("/bin/true", shell)


def unusable(shell: Path) -> None:
    shell.write_bytes(b"#!/bin/sh\n")
    shell.chmod(0o644)


@contextmanager
def imported(root: Path) -> Generator[str]:
    name = f"rapidflow-test/no-shell:{uuid.uuid4().hex}"
    packed = subprocess.run(["tar", "-C", str(root), "-c", "."], capture_output=True, check=True).stdout
    subprocess.run(["docker", "import", "-", name], input=packed, capture_output=True, check=True)
    yield name
    subprocess.run(["docker", "rmi", "--force", name], capture_output=True, check=True)


@pytest.mark.parametrize(
    ("put", "said"),
    [
        (Path.unlink, "no working /bin/sh"),
        (without_loader, "no working /bin/sh"),
        (unusable, "no working /bin/sh"),
        (foreign, "another kind of processor"),
    ],
)
def test_an_image_that_can_run_no_shell_is_told(
    server: Server, tmp_path: Path, put: Callable[[Path], object], said: str
) -> None:
    shell = tmp_path / "bin" / "sh"
    shell.parent.mkdir()
    shell.touch()
    put(shell)
    with imported(tmp_path) as image:
        details = server.run({"name": "no shell", "image": image, "steps": ["true"]})
    assert details["job"]["status"] == "failed"
    assert details["job"]["error"].startswith("the image ") and said in details["job"]["error"]
