"""Working trees as they are uploaded, made with git alone."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.support.repos import Repo
from tests.support.server import Answer, Server


def pack(folder: Path, files: dict[str, str | bytes], *options: str) -> tuple[str, bytes]:
    """A commit of these files in a repository of its own in `folder`; its id and its pack."""
    repo = Repo(folder, *options)
    for name, value in (("core.compression", "1"), ("core.bigFileThreshold", "1m"), ("gc.auto", "0")):
        repo.git("config", name, value)  # random bytes take git long, which looks for what they share
    commit = repo.commit(files, "Working tree of a test")
    return commit, packed(repo, commit)


def packed(repo: Repo, commit: str, *options: str) -> bytes:
    """The pack of a commit with all that belongs to it."""
    done = subprocess.run(
        ["git", "pack-objects", "--revs", "--stdout", "--quiet", *options],
        cwd=repo.path, input=f"{commit}\n".encode(), capture_output=True, check=True,
    )  # fmt: skip
    return done.stdout


def upload(
    server: Server, pipeline_id: int, commit: str, data: Any, headers: dict[str, str] | None = None
) -> Answer:
    """What is answered to an upload."""
    every = {"Content-Type": "application/octet-stream", **(headers or {})}
    return server.request("POST", f"/pipelines/{pipeline_id}/uploads?commit={commit}", data, every)


def start(
    server: Server, pipeline_id: int, upload_id: int, headers: dict[str, str] | None = None, **body: Any
) -> Answer:
    """What is answered to the start of an upload's build."""
    every = {"Content-Type": "application/json", **(headers or {})}
    return server.request(
        "POST", f"/pipelines/{pipeline_id}/jobs", json.dumps({"upload": upload_id, **body}), every
    )


def kept(server: Server) -> list[str]:
    """What is on the disk of the server of uploads."""
    return sorted(path.name for path in (server.data / "uploads").iterdir())
