"""The commands that let a build begin which waits for an approval of its commit, or end it."""

from __future__ import annotations

from urllib.parse import quote

import click

from rapidflow_web.cli import response_shapes
from rapidflow_web.cli.client import Client, ClientError, asks_server
from rapidflow_web.terminal import note, out, safe

_job = click.argument("job", metavar="JOB")
_commit = click.option("--commit", metavar="COMMIT", help="Fail unless this commit is waiting.")
_LEAST_COMMIT = 7


@click.command
@_job
@_commit
@asks_server
def approve(client: Client, job: str, commit: str | None) -> int:
    """Approve a waiting build."""
    _decide(client, job, commit, "approve")
    out(f"job {job} is approved; 'rapidflow logs -f {job}' follows it")
    return 0


@click.command
@_job
@_commit
@asks_server
def reject(client: Client, job: str, commit: str | None) -> int:
    """Reject a waiting build."""
    _decide(client, job, commit, "reject")
    out(f"job {job} is rejected")
    return 0


def _decide(client: Client, job: str, commit: str | None, what: str) -> None:
    """Shows what waits, and approves or rejects that."""
    path = f"/jobs/{quote(job, safe='')}"
    waiting = client.call("GET", path, shape=response_shapes.WAITING)
    there = waiting["commit"] or ""
    if commit is not None and len(commit) < _LEAST_COMMIT:
        raise ClientError(f"--commit {commit!r} is too short; give at least {_LEAST_COMMIT} digits")
    wanted = there if commit is None or there.startswith(commit) else commit
    if there:
        note(f"commit {there} of {safe(waiting['ref'] or 'no ref')}")
        note(f"  {safe(waiting['title'] or '')} ({safe(waiting['author'] or 'nobody')})")
    client.call("POST", f"{path}/{what}", {"commit": wanted}, shape=response_shapes.STATUS)
