"""The commands that decide on what waits for an approval: a build, for its commit, or a part of one."""

from __future__ import annotations

from urllib.parse import quote

import click

from rapidflow_web.cli import response_shapes
from rapidflow_web.cli.client import Client, ClientError, asks_server
from rapidflow_web.terminal import note, out, safe

_job = click.argument("job", metavar="JOB")
_commit = click.option("--commit", metavar="COMMIT", help="Fail unless this commit is waiting.")
_LEAST_COMMIT = 7


_part = click.argument("part", metavar="[PART]", required=False)


@click.command
@_job
@_part
@_commit
@asks_server
def approve(client: Client, job: str, part: str | None, commit: str | None) -> int:
    """Approve a waiting build, or a job or part of one."""
    what = _decide(client, job, part, commit, "approve")
    out(f"{what} is approved; 'rapidflow logs -f {job}' follows it")
    return 0


@click.command
@_job
@_part
@_commit
@asks_server
def reject(client: Client, job: str, part: str | None, commit: str | None) -> int:
    """Reject a waiting build, or a job or part of one."""
    out(f"{_decide(client, job, part, commit, 'reject')} is rejected")
    return 0


def _decide(client: Client, job: str, part: str | None, commit: str | None, what: str) -> str:
    """Shows what waits, approves or rejects that, and returns what that was."""
    path = f"/jobs/{quote(job, safe='')}"
    if part is not None:
        if commit is not None:
            raise ClientError("--commit is for a build that waits as a whole; leave it or the part out")
        client.call("POST", f"{path}/{what}", {"part": part}, shape=response_shapes.STATUS)
        return f"{part} of job {job}"
    waiting = client.call("GET", path, shape=response_shapes.WAITING)
    there = waiting["commit"] or ""
    if commit is not None and len(commit) < _LEAST_COMMIT:
        raise ClientError(f"--commit {commit!r} is too short; give at least {_LEAST_COMMIT} digits")
    wanted = there if commit is None or there.startswith(commit) else commit
    if there:
        note(f"commit {there} of {safe(waiting['ref'] or 'no ref')}")
        note(f"  {safe(waiting['title'] or '')} ({safe(waiting['author'] or 'nobody')})")
    client.call("POST", f"{path}/{what}", {"commit": wanted}, shape=response_shapes.STATUS)
    return f"job {job}"
