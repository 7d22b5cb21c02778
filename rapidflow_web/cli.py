"""The `rapidflow` command."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rapidflow_web import __version__
from rapidflow_web.client import Client, ClientError
from rapidflow_web.errors import Invalid, RapidFlowError

_DEFAULT_URL = "http://127.0.0.1:3000"
_FAILED, _USAGE, _INTERRUPTED = 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command and exits with its code."""
    options = _parser().parse_args(arguments)
    if options.command is not _serve:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        code = options.command(options)
    except (RapidFlowError, OSError) as error:
        print(f"rapidflow: {error}", file=sys.stderr)
        code = _USAGE
    except KeyboardInterrupt:
        code = _INTERRUPTED
    sys.exit(code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rapidflow", description="Run builds and follow them.")
    parser.add_argument("--version", action="version", version=f"rapidflow {__version__}")
    parser.add_argument(
        "--url",
        default=os.environ.get("RAPIDFLOW_URL", _DEFAULT_URL),
        help=f"the server (default: RAPIDFLOW_URL, else {_DEFAULT_URL})",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, command: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(command=command)
        return sub

    add("serve", _serve, "Run the server; its settings come from RAPIDFLOW_* variables.")
    run = add("run", _run, "Start a build, follow it, and exit with 0 only if it succeeded.")
    run.add_argument("pipeline", metavar="FILE|PIPELINE", help="a YAML file, or the id or name of a pipeline")
    run.add_argument("--branch", help="build this branch instead of the pipeline's")
    run.add_argument(
        "--env", action="append", default=[], metavar="KEY=VALUE", help="set a variable; may be repeated"
    )
    logs = add("logs", _logs, "Print the log of a job.")
    logs.add_argument("job", metavar="JOB")
    logs.add_argument("-f", "--follow", action="store_true", help="go on until the build ends")
    logs.add_argument("-n", "--tail", type=int, metavar="LINES", help="begin at the last lines")
    jobs = add("jobs", _jobs, "List jobs, newest first.")
    jobs.add_argument("--pipeline", metavar="ID", help="only jobs of this pipeline")
    jobs.add_argument("--status", help="only jobs in this state")
    jobs.add_argument("-n", "--limit", type=int, default=20, help="at most this many (default: 20)")
    cancel = add("cancel", _cancel, "Cancel a job; returns when its build is really stopped.")
    cancel.add_argument("job", metavar="JOB")
    retry = add("retry", _retry, "Start a job again with all that it ran with.")
    retry.add_argument("job", metavar="JOB")
    retry.add_argument("-f", "--follow", action="store_true", help="follow it, and exit like 'run'")
    validate = add("validate", _validate, "Check a pipeline file.")
    validate.add_argument("file", metavar="FILE", help="a YAML file, or - for standard input")
    return parser


def _serve(options: argparse.Namespace) -> int:
    from rapidflow_web.server import serve
    from rapidflow_web.settings import from_environment

    serve(from_environment(os.environ))
    return 0


def _run(options: argparse.Namespace) -> int:
    client = Client(options.url)
    pipeline_id = _pipeline_id(client, options.pipeline)
    body: dict[str, Any] = {"environments": _variables(options.env)}
    if options.branch:
        body["branch"] = options.branch
    job = client.call("POST", f"/pipelines/{pipeline_id}/jobs", body)
    return _follow(client, job)


def _follow(client: Client, job: dict[str, Any]) -> int:
    job_id = str(job["id"])
    print(f"job {job_id} started", file=sys.stderr)
    try:
        client.stream(job_id, {"follow": "true"}, _write)
    except KeyboardInterrupt:
        print(
            f"\njob {job_id} goes on; 'rapidflow logs -f {job_id}' follows it, 'rapidflow cancel {job_id}' stops it",
            file=sys.stderr,
        )
        return _INTERRUPTED
    return 0 if client.call("GET", f"/jobs/{job_id}")["status"] == "success" else _FAILED


def _pipeline_id(client: Client, named: str) -> str:
    """The pipeline that a file, an id or a name stands for; a file's is stored, or brought up to date."""
    if Path(named).is_file():
        return _stored(client, Path(named))
    if named.isdigit():
        return named
    if named.endswith((".yml", ".yaml")):
        raise ClientError(f"there is no file {named}")
    found = client.call("GET", f"/pipelines?{_query(name=named)}")
    if not found:
        raise ClientError(f"there is no pipeline and no file '{named}'")
    if len(found) > 1:
        ids = ", ".join(str(pipeline["id"]) for pipeline in found)
        raise ClientError(f"there are several pipelines '{named}'; name one by its id: {ids}")
    return str(found[0]["id"])


def _stored(client: Client, file: Path) -> str:
    from rapidflow_web.pipeline.parser import parse

    config = file.read_text(encoding="utf-8")
    try:
        name = parse(config, ("/",)).name
    except Invalid as error:
        raise ClientError(f"{file}: {error}") from None
    found = client.call("GET", f"/pipelines?{_query(name=name, limit=1)}")
    if not found:
        return str(client.call("POST", "/pipelines", {"config": config})["id"])
    pipeline = found[0]
    if pipeline["config"] != config:
        client.call("PUT", f"/pipelines/{pipeline['id']}", {"config": config})
        print(f"pipeline {pipeline['id']} '{name}' updated from {file}", file=sys.stderr)
    return str(pipeline["id"])


def _variables(given: Sequence[str]) -> dict[str, str]:
    variables: dict[str, str] = {}
    for entry in given:
        key, separator, value = entry.partition("=")
        if not separator or not key:
            raise ClientError(f"--env {entry!r} is not KEY=VALUE")
        variables[key] = value
    return variables


def _logs(options: argparse.Namespace) -> int:
    query: dict[str, Any] = {"follow": "true"} if options.follow else {}
    if options.tail is not None:
        query["tail"] = options.tail
    Client(options.url).stream(options.job, query, _write)
    return 0


def _jobs(options: argparse.Namespace) -> int:
    query = _query(limit=options.limit, status=options.status, pipeline_id=options.pipeline)
    row = "{:>7}  {:<9}  {:>8}  {:<20}  {:<12}  {:<20}  {}"
    print(row.format("JOB", "STATUS", "PIPELINE", "BRANCH", "COMMIT", "CREATED", "DURATION"))
    for job in Client(options.url).call("GET", f"/jobs?{query}"):
        commit, branch = (job["commit"] or "-")[:12], (job["branch"] or "-")[:20]
        cells = (job["id"], job["status"], job["pipeline_id"], branch, commit, job["created_at"], _duration(job))
        print(row.format(*cells))
    return 0


def _cancel(options: argparse.Namespace) -> int:
    print(Client(options.url).call("POST", f"/jobs/{options.job}/cancel")["message"])
    return 0


def _retry(options: argparse.Namespace) -> int:
    client = Client(options.url)
    job = client.call("POST", f"/jobs/{options.job}/retry")
    if options.follow:
        return _follow(client, job)
    print(f"job {job['id']} started")
    return 0


def _validate(options: argparse.Namespace) -> int:
    from rapidflow_web.pipeline.parser import parse

    name = "standard input" if options.file == "-" else options.file
    try:
        text = sys.stdin.read() if options.file == "-" else Path(options.file).read_text(encoding="utf-8")
        # Which file repositories are allowed is for the server to say.
        definition = parse(text, ("/",))
    except UnicodeDecodeError:
        print(f"{name}: this is not a text file in UTF-8", file=sys.stderr)
        return _FAILED
    except Invalid as error:
        for problem in error.problems:
            print(f"{name}: {problem.message}", file=sys.stderr)
        return _FAILED
    count = len(definition.steps)
    print(f"{name}: '{definition.name}' is valid, {count} step{'' if count == 1 else 's'}")
    return 0


def _query(**values: Any) -> str:
    from urllib.parse import urlencode

    return urlencode({key: value for key, value in values.items() if value is not None})


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _duration(job: dict[str, Any]) -> str:
    if job["started_at"] is None:
        return "-"
    end = datetime.fromisoformat(job["finished_at"]) if job["finished_at"] else datetime.now(UTC)
    seconds = max(0, round((end - datetime.fromisoformat(job["started_at"])).total_seconds()))
    return f"{seconds // 60}m{seconds % 60:02}s"
