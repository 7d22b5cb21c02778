"""Makes sure that builds which name no image have one, also where no registry can be reached."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import aiodocker

from rapidflow_web.errors import RapidFlowError
from rapidflow_web.progress import untold
from scripts import debian, engine

_SUITE = "bookworm"
_BUILT = f"rapidflow-base:{_SUITE}"
_PULL_SECONDS = 120.0
_TOOLS = {"debootstrap": "debootstrap", "docker": "docker.io"}


async def ensure(usual: str, scratch: Path) -> str:
    """The image to run such builds in: `usual`, or one that is built from Debian packages below `scratch`.

    Where there is neither, it says so and gives `usual`, which may be there another time.
    """
    async with aiodocker.Docker() as docker:
        for image in (usual, _BUILT):
            if await _has(docker, image):
                return image
    print(f"Pulling the base image {usual}", flush=True)
    try:
        async with engine.connected(_PULL_SECONDS) as executor:
            await executor.images.provide(usual, untold)
    except RapidFlowError as error:
        print(f"{error}\nBuilding {_BUILT} from Debian packages instead; it takes a minute", flush=True)
    else:
        return usual
    if failure := _build(scratch):
        print(f"It can't be built: {failure}. Builds that name no image fail until {usual} can be pulled.")
        return usual
    return _BUILT


async def _has(docker: aiodocker.Docker, image: str) -> bool:
    try:
        await docker.images.inspect(image)
    except aiodocker.DockerError as error:
        if error.status != 404:
            raise
        return False
    return True


def _build(scratch: Path) -> str | None:
    """Why the image can't be built; None if it was."""
    if os.geteuid() != 0:
        return "that needs root"
    if missing := debian.provide(_TOOLS):
        return f"{missing[0]} is not installed"
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch, ignore_cleanup_errors=True) as folder:
        # What it mounts is gone with it, however it ends, before the folder is removed.
        debootstrap = subprocess.run(
            ["unshare", "--mount", "debootstrap", "--variant=minbase", _SUITE, folder, *_mirror()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if debootstrap.returncode != 0:
            return (debootstrap.stdout.strip().splitlines() or ["debootstrap failed"])[-1]
        for cache in ("var/cache/apt/archives", "var/lib/apt/lists"):
            shutil.rmtree(Path(folder, cache))
        with subprocess.Popen(["tar", "-C", folder, "-c", "."], stdout=subprocess.PIPE) as tar:
            imported = subprocess.run(
                ["docker", "import", "--change", 'CMD ["bash"]', "-", _BUILT],
                stdin=tar.stdout,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
    return None if imported.returncode == 0 else imported.stderr.strip() or "docker import failed"


def _mirror() -> list[str]:
    """The mirror that this machine gets the suite from; none, for the usual one, on another system."""
    if shutil.which("apt-get") is None:
        return []
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(RELEASE) $(SITE)", "Created-By: Packages"],
        capture_output=True,
        text=True,
    )
    sites = [line.split()[1] for line in listed.stdout.splitlines() if line.startswith(f"{_SUITE} http")]
    return sites[:1]
