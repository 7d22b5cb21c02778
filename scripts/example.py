"""The example of `make run`: a repository that is added at the first start, and a push that is built."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from rapidflow_web.cli import response_shapes
from rapidflow_web.cli.client import Client, ClientError, Unreachable
from rapidflow_web.forges import post_receive

_EXAMPLES = Path(__file__).parent.parent / "examples"
_START_SECONDS = 60.0
_POLL_SECONDS = 10
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
    """The example in `folder`, which is below an allowed root of the server.

    `work` is where one commits, `origin` what is pushed to and the server listens to.
    """

    def __init__(self, folder: Path) -> None:
        self.work = folder / "hello"
        self.origin = folder / "hello.git"
        self._stamp = folder / "started"

    def place(self) -> None:
        """Makes both repositories unless they are there."""
        if self.origin.exists() or self._stamp.exists():
            return
        # Made beside and moved, so that they are never there in part.
        work, origin = self.work.with_suffix(".new"), self.origin.with_suffix(".new-git")
        for left in (work, origin, self.work):
            shutil.rmtree(left, ignore_errors=True)
        shutil.copytree(_EXAMPLES / "hello", work)
        _git(work, "init", "--quiet", "--initial-branch=main", "--template=")
        _git(work, "add", "--all")
        _git(work, "commit", "--quiet", "--message", "A histogram for the terminal")
        _git(work, "clone", "--quiet", "--bare", "--template=", str(work), str(origin))
        _git(work, "remote", "add", "origin", str(self.origin))
        _give_identity(work)
        _git(work, "config", "branch.main.remote", "origin")
        _git(work, "config", "branch.main.merge", "refs/heads/main")
        work.rename(self.work)
        origin.rename(self.origin)

    def start_once(self, url: str) -> None:
        """Adds and pushes, in the background, once the server at `url` is ready; does so once for ever."""
        if not self._stamp.exists():
            # It ends with the server, whenever that is.
            threading.Thread(target=self._start, args=(url,), daemon=True).start()

    def _start(self, url: str) -> None:
        client = Client(url, print)
        try:
            _wait_until_ready(client)
            repository = self._added(client)
            self._push(client, repository["id"], url)
            job = _newest_job(client, repository["pipelines"][0]["id"])
        except (ClientError, OSError, subprocess.CalledProcessError) as error:
            print(f"The example build could not be started: {error}", file=sys.stderr)
            return
        self._stamp.touch()
        print(f"The example builds right now: {url}/ui/jobs/{job}", flush=True)
        print(f"To build it again, commit something in {self.work}, and 'git push'.", flush=True)

    def _added(self, client: Client) -> dict[str, Any]:
        """The repository at the server, which is added unless it is there."""
        there = client.call("GET", "/repositories?limit=200", shape=response_shapes.REPOSITORIES)
        uri = self.origin.as_uri()
        found = next((one for one in there if one["url"] == uri), None)
        if found is None:
            found = client.call("POST", "/repositories", {"url": uri}, shape=response_shapes.ADDED)
        poll = {"poll": f"{_POLL_SECONDS}s"}
        return client.call("PUT", f"/repositories/{found['id']}", poll, shape=response_shapes.REPOSITORY)

    def _push(self, client: Client, repository_id: int, url: str) -> None:
        """Has pushes be built at once, and pushes a commit."""
        hook = self.origin / "hooks" / "post-receive"
        hook.parent.mkdir(exist_ok=True)
        script = post_receive.script(url, repository_id, with_token=False)
        # Where there is no curl, a push is found by a poll soon enough.
        hook.write_text(f"{script}\n")
        hook.chmod(0o700)
        with (self.work / "README.md").open("a") as readme:
            readme.write("\nThe number is how often a line comes.\n")
        _git(self.work, "commit", "--quiet", "--all", "--message", "Say what the number is")
        # What the hook says is for whoever pushes later.
        _git(self.work, "push", "--quiet", "origin", "main", stderr=subprocess.DEVNULL)
        # Where there is no curl, or the server has users.
        client.call("POST", f"/repositories/{repository_id}/poll", shape=response_shapes.REPOSITORY)


def _git(folder: Path, *arguments: str, stderr: int | None = None) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")} | _PLAIN_GIT
    subprocess.run(["git", *arguments], cwd=folder, env=environment, stderr=stderr, check=True)


def _give_identity(folder: Path) -> None:
    """Lets whoever has told git no name commit in a repository, and nowhere else."""
    for key, value in (("user.name", "RapidFlow user"), ("user.email", "user@localhost")):
        known = subprocess.run(["git", "config", key], cwd=folder, stdout=subprocess.DEVNULL, check=False)
        if known.returncode != 0:
            _git(folder, "config", key, value)


def _newest_job(client: Client, pipeline_id: int) -> int:
    """The job that the push made. Raises `ClientError`."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        jobs = client.call("GET", f"/pipelines/{pipeline_id}/jobs?limit=1", shape=response_shapes.JOBS)
        if jobs:
            return jobs[0]["id"]
        time.sleep(0.1)
    raise ClientError("its push was not built; the events of its repository say why")


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
