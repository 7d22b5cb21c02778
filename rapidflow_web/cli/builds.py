"""The commands that start, follow and end builds. They ask the server."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import quote, urlencode

import click

from rapidflow_web.cli import following, response_shapes
from rapidflow_web.cli.client import Client, ClientError, asks_server
from rapidflow_web.cli.meter import Meter
from rapidflow_web.cli.validation import read_definition
from rapidflow_web.errors import Invalid
from rapidflow_web.pipeline.definition_files import is_definition
from rapidflow_web.pipeline.durations import format_elapsed
from rapidflow_web.progress import ByteCount
from rapidflow_web.terminal import note, out, safe

_job = click.argument("job", metavar="JOB")
_LONGEST_NODE = 40
_STATUSES = ("pending", "running", "success", "failed", "cancelled")


@click.command
@click.argument("what", metavar="FOLDER|FILE|PIPELINE", type=click.Path())
@click.option("--branch", metavar="BRANCH", help="Build this branch instead of the pipeline's.")
@click.option("--commit", metavar="COMMIT", help="Build this commit, given by its full hash.")
@click.option("--tag", metavar="TAG", help="Build this tag, where the definition stands in a repository.")
@click.option(
    "--env", multiple=True, metavar="KEY=VALUE", help="Set a variable; can be repeated, with another KEY."
)
@click.option("--pipeline", metavar="NAME|FILE", help="The definition to build, if the folder has several.")
@click.option("--no-secrets", is_flag=True, help="Build the folder like a pull request from a fork.")
@asks_server
def run(
    client: Client,
    what: str,
    branch: str | None,
    commit: str | None,
    tag: str | None,
    env: tuple[str, ...],
    pipeline: str | None,
    no_secrets: bool,
) -> int:
    """Start a build and follow it; exit with 0 only if it succeeds.

    A folder, such as ".", builds the git working tree around it as it is now, before you push: what git
    tracks, and new files that it does not ignore. A definition file of a repository stands for its working
    tree. Any other YAML file is stored first. A stored pipeline is given by its id or name.
    """
    variables = _variables(env)
    chosen = {"branch": branch, "commit": commit, "tag": tag}
    chosen = {key: value for key, value in chosen.items() if value is not None}
    if (tree := _working_tree(client, what)) is None:
        for name, given in (("--pipeline", pipeline), ("--no-secrets", no_secrets)):
            if given:
                raise ClientError(f"{name} is for a folder, and '{what}' is not one")
        body: dict[str, Any] = {"environments": variables, **chosen}
        number = _pipeline_of(client, what)
        path = f"/pipelines/{number}/jobs"
        return following.follow(client, client.call("POST", path, body, shape=response_shapes.STORED))
    for name in chosen:
        raise ClientError(f"the working tree is built as it is; leave out --{name}")
    from rapidflow_web.cli import trying

    folder, file = tree
    job = trying.start(client, folder, file, pipeline, variables, secrets=not no_secrets)
    return following.follow(client, job)


@click.command
@_job
@click.option("-f", "--follow", is_flag=True, help="Go on until the build ends.")
@click.option("-n", "--tail", type=int, metavar="LINES", help="Start with the last lines.")
@asks_server
def logs(client: Client, job: str, follow: bool, tail: int | None) -> int:
    """Print the log of a job."""
    query: dict[str, Any] = {"follow": "true"} if follow else {}
    if tail is not None:
        query["tail"] = tail
    if follow:
        following.watch(client, job, query)
        return 0
    if not _is_file(sys.stdout):
        # Where a program reads it, that may draw on the terminal itself.
        following.copy(client.stream(job, query))
        return 0
    with Meter("downloading", sys.stdout) as meter:
        count = ByteCount(meter)
        following.copy(client.stream(job, query, count.expect), count.add)
    return 0


def _statuses(_context: click.Context, _option: click.Parameter, incomplete: str) -> list[str]:
    return [status for status in _STATUSES if status.startswith(incomplete)]


@click.command
@click.option("--pipeline", metavar="PIPELINE", help="Only jobs of this pipeline (ID or name).")
@click.option("--status", metavar="STATUS", shell_complete=_statuses, help=f"Only {', '.join(_STATUSES)}.")
@click.option("-n", "--limit", type=int, default=20, show_default=True, metavar="N", help="At most N jobs.")
@asks_server
def jobs(client: Client, pipeline: str | None, status: str | None, limit: int) -> int:
    """List jobs, newest first."""
    number = None if pipeline is None else pipeline_id(client, pipeline)
    query = _query(limit=limit, status=status, pipeline_id=number)
    row = "{:>7}  {:<9}  {:<24}  {:<20}  {:<12}  {:<20}  {}{}"
    found = client.call("GET", f"/jobs?{query}", shape=response_shapes.JOBS)
    pipelines = client.call("GET", "/pipelines?limit=200", shape=response_shapes.PIPELINES)
    names = {one["id"]: one["name"] for one in pipelines}
    # Only a server with several machines says where a job ran.
    nodes = [safe(str(job["node"]))[:_LONGEST_NODE] for job in found if job.get("node")]
    width = max(map(len, nodes), default=0)

    def on(node: str) -> str:
        return f"{node:<{width}}  " if nodes else ""

    out(row.format("JOB", "STATUS", "PIPELINE", "BRANCH", "COMMIT", "CREATED", on("NODE"), "DURATION"))
    if not found:
        note("there are no jobs")
    for job in found:
        commit, branch = safe(job["commit"] or "-")[:12], safe(job["branch"] or "-")[:20]
        out(
            row.format(
                job["id"],
                job["status"],
                safe(f"{job['pipeline_id']} {names.get(job['pipeline_id'], '')}")[:24],
                branch,
                commit,
                job["created_at"],
                on(safe(str(job.get("node") or "-"))[:_LONGEST_NODE]),
                _duration(job),
            )
        )
    return 0


@click.command
@_job
@asks_server
def cancel(client: Client, job: str) -> int:
    """Cancel a job and wait until its build has stopped."""
    client.call("POST", f"/jobs/{quote(job, safe='')}/cancel", shape=response_shapes.MESSAGE)
    out(f"job {job} cancelled")
    return 0


@click.command
@_job
@click.option("-f", "--follow", is_flag=True, help="Follow the new job, and exit like 'run'.")
@click.option("--only-failed", is_flag=True, help="Of several jobs, run again only what did not succeed.")
@asks_server
def retry(client: Client, job: str, follow: bool, only_failed: bool) -> int:
    """Start a job again: same commit, definition and variables."""
    body = {"only": "failed"} if only_failed else None
    path = f"/jobs/{quote(job, safe='')}/retry"
    started = client.call("POST", path, body, shape=response_shapes.STORED)
    if follow:
        return following.follow(client, started)
    out(f"job {started['id']} started")
    return 0


def _is_file(stream: TextIO) -> bool:
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except OSError:
        return False


def _working_tree(client: Client, named: str) -> tuple[Path, Path | None] | None:
    """The folder whose working tree is meant, and the definition file, if named; None for a pipeline."""
    path = Path(named)
    if path.is_file() and is_definition(path.absolute()):
        return path.absolute().parent, path
    if not path.is_dir():
        return None
    if named in (".", "..") or os.sep in named:
        return path, None
    is_pipeline = named.isdecimal() or client.call(
        "GET", f"/pipelines?{_query(name=named)}", shape=response_shapes.PIPELINES
    )
    return None if is_pipeline else (path, None)


def _pipeline_of(client: Client, named: str) -> str:
    """The pipeline that a file, an id or a name stands for; a file's is stored, or brought up to date."""
    return _stored(client, Path(named)) if Path(named).is_file() else pipeline_id(client, named, or_file=True)


def pipeline_id(client: Client, named: str, *, or_file: bool = False) -> str:
    """The pipeline that an id or a name stands for. Raises `ClientError`.

    `or_file`: it could also have been a file, which is not there.
    """
    if named.isascii() and named.isdigit():
        return named
    if or_file and named.endswith((".yml", ".yaml")):
        raise ClientError(f"there is no file {named}")
    found = client.call("GET", f"/pipelines?{_query(name=named)}", shape=response_shapes.PIPELINES)
    return str(the_one([pipeline["id"] for pipeline in found], named, or_file=or_file))


def the_one(ids: Sequence[int], named: str, *, or_file: bool = False) -> int:
    """The id of the one pipeline of a name. Raises `ClientError` where there is none or more than one."""
    if not ids:
        raise ClientError(f"there is no pipeline {'and no file ' if or_file else ''}'{named}'")
    if len(ids) > 1:
        listed = ", ".join(map(str, ids))
        raise ClientError(f"there are several pipelines '{named}'; name one by its id: {listed}")
    return ids[0]


def _stored(client: Client, file: Path) -> str:
    from rapidflow_web.pipeline.clone_credentials import taken_out

    try:
        config, definition = read_definition(file)
    except Invalid as error:
        raise ClientError("\n".join(f"{file}: {problem.message}" for problem in error.problems)) from None
    found = client.call(
        "GET", f"/pipelines?{_query(name=definition.name, limit=200)}", shape=response_shapes.PIPELINES
    )
    public, password = taken_out(config)
    for pipeline in found:
        if pipeline["config"] == public:
            if password is not None:  # it may be another than that of the last time
                path = f"/pipelines/{pipeline['id']}"
                client.call("PUT", path, {"config": config}, shape=response_shapes.anything)
            return str(pipeline["id"])
    if len(found) > 1:
        # Any of them may be somebody else's.
        raise ClientError(
            f"there are several pipelines '{definition.name}', none of them as in {file}: {_ids(found)}; "
            "give this one a name of its own, or update one of them and run it by its id"
        )
    if found:
        pipeline = client.call(
            "PUT", f"/pipelines/{found[0]['id']}", {"config": config}, shape=response_shapes.STORED
        )
        note(f"pipeline {pipeline['id']} '{definition.name}' updated from {file}")
    else:
        pipeline = client.call("POST", "/pipelines", {"config": config}, shape=response_shapes.STORED)
        note(f"pipeline {pipeline['id']} '{definition.name}' stored from {file}")
    return str(pipeline["id"])


def _ids(found: Sequence[dict[str, Any]]) -> str:
    return ", ".join(str(pipeline["id"]) for pipeline in found)


def _variables(given: Sequence[str]) -> dict[str, str]:
    variables: dict[str, str] = {}
    for entry in given:
        key, separator, value = entry.partition("=")
        if not separator or not key:
            raise ClientError(f"--env {entry!r} is not KEY=VALUE")
        if key in variables:
            raise ClientError(f"--env {key}=… is there twice; leave one out")
        variables[key] = value
    return variables


def _query(**values: Any) -> str:
    return urlencode({key: value for key, value in values.items() if value is not None})


def _duration(job: dict[str, Any]) -> str:
    if job["started_at"] is None:
        return "-"
    end = datetime.fromisoformat(job["finished_at"]) if job["finished_at"] else datetime.now(UTC)
    elapsed = end - datetime.fromisoformat(job["started_at"])
    return format_elapsed(elapsed.total_seconds() * 1000, tenths=False)
