"""The example of `make run`: a repository to build, a pipeline over it, one build at the first start."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

from rapidflow_web.cli import response_shapes
from rapidflow_web.cli.client import Client, ClientError, Unreachable

_EXAMPLES = Path(__file__).parent.parent / "examples"
_START_SECONDS = 60.0
_PLAIN_GIT = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "RapidFlow Web",
    "GIT_AUTHOR_EMAIL": "example@localhost",
    "GIT_COMMITTER_NAME": "RapidFlow Web",
    "GIT_COMMITTER_EMAIL": "example@localhost",
}
"""Whatever the user's git signs, hooks or names is none of the example's business."""


class Example:
    """The example in `folder`, which is below an allowed root of the server."""

    def __init__(self, folder: Path) -> None:
        self.repository = folder / "hello"
        self._stamp = folder / "started"

    def place(self) -> None:
        """Makes the repository unless it is there."""
        if self.repository.exists():
            return
        # Made beside and moved, so that it is never there in part.
        fresh = self.repository.with_suffix(".new")
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.copytree(_EXAMPLES / "hello", fresh)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")} | _PLAIN_GIT
        for arguments in (
            ("init", "--quiet", "--initial-branch=main", "--template="),
            ("add", "--all"),
            ("commit", "--quiet", "--message", "A histogram for the terminal"),
        ):
            subprocess.run(["git", *arguments], cwd=fresh, env=environment, check=True)
        fresh.rename(self.repository)

    def config(self) -> str:
        """The pipeline, over the repository where it is."""
        text = (_EXAMPLES / "pipelines" / "hello.yml").read_text()
        return re.sub(r"(?m)^repo_name: .*$", lambda _: f"repo_name: {self.repository.as_uri()}", text)

    def start_once(self, url: str) -> None:
        """Starts the build, in the background, once the server at `url` is ready; does so once for ever."""
        if not self._stamp.exists():
            # It ends with the server, whenever that is.
            threading.Thread(target=self._start, args=(url,), daemon=True).start()

    def _start(self, url: str) -> None:
        client = Client(url, print)
        try:
            _wait_until_ready(client)
            pipeline = client.call(
                "POST", "/pipelines", {"config": self.config()}, shape=response_shapes.STORED
            )
            job = client.call("POST", f"/pipelines/{pipeline['id']}/jobs", shape=response_shapes.STORED)
        except ClientError as error:
            print(f"The example build could not be started: {error}", file=sys.stderr)
            return
        self._stamp.touch()
        print(f"The example builds right now: {url}/ui/jobs/{job['id']}", flush=True)


def _wait_until_ready(client: Client) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            client.call("GET", "/health", shape=response_shapes.anything)
        except Unreachable:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return
