"""The `rapidflow` command."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from rapidflow_web import __version__
from rapidflow_web.cli import accounts, operations
from rapidflow_web.cli.client import Client, ClientError, Unreadable
from rapidflow_web.errors import Invalid, Problem, RapidFlowError
from rapidflow_web.pipeline.definition import ParsedPipeline
from rapidflow_web.terminal import drop_output, note, open_missing, out, safe

_DEFAULT_URL = "http://127.0.0.1:3000"
_Command = Callable[[argparse.Namespace], int]
_FAILED, _TROUBLE, _INTERRUPTED, _PIPE_CLOSED = 1, operations.TROUBLE, 130, 141


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command and exits with its code."""
    had_output = open_missing()
    try:
        try:
            code = _carry_out(arguments, had_output)
        except SystemExit as end:  # of the parser, which may have printed its help
            code = end.code
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever reads has enough, as in `rapidflow jobs | head`.
        drop_output()
        code = _PIPE_CLOSED
    except Unreadable as error:
        _say(str(error))
        code = _FAILED
    except RapidFlowError as error:
        _say(str(error))
        code = _TROUBLE
    except OSError as error:
        _say(f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error))
        drop_output()
        code = _TROUBLE
    except UnicodeEncodeError as error:
        _say(f"{error.object!r} is not text in {error.encoding}")
        code = _TROUBLE
    except KeyboardInterrupt:
        code = _INTERRUPTED
    sys.exit(code)


def _carry_out(arguments: Sequence[str] | None, had_output: bool) -> int:
    options, unknown = _parser().parse_known_args(arguments)
    if unknown:
        # The usage of the command, and not of all of them.
        options.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if not had_output and options.command is not operations.serve:
        # Before anything is begun of which the outcome could not be told.
        raise ClientError("standard output is closed; open it, or send it to /dev/null")
    return options.command(options)


def _say(sentences: str) -> None:
    for sentence in sentences.splitlines():
        note(f"rapidflow: {sentence}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rapidflow", description="Run builds and follow them.")
    parser.add_argument("--version", action="version", version=f"rapidflow {__version__}")
    parser.add_argument(
        "--url",
        default=os.environ.get("RAPIDFLOW_URL") or _local_url(os.environ.get("RAPIDFLOW_BIND", "")),
        help=f"the server (default: RAPIDFLOW_URL, else the port of RAPIDFLOW_BIND, else {_DEFAULT_URL})",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    add = _adder(commands)
    serve = add("serve", operations.serve, "Run the server; its settings come from RAPIDFLOW_* variables.")
    serve.add_argument(
        "--drain", action="store_true", help="on SIGTERM start no more builds and wait for those that run"
    )
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
    prune = add(
        "prune",
        _asking(operations.prune),
        "Remove what the server's settings do not keep: builds, mirrors, images.",
    )
    prune.add_argument("--dry-run", action="store_true", help="only tell what would be removed")
    backup = add(
        "backup", operations.back_up, "Back up the data folder of RAPIDFLOW_DATA, also beside its server."
    )
    backup.add_argument(
        "file",
        metavar="FILE",
        nargs="?",
        default=operations.backup_name(),
        help="a tar file, or - for standard output",
    )
    restore = add(
        "restore", operations.restore, "Make the empty data folder of RAPIDFLOW_DATA from a backup."
    )
    restore.add_argument("file", metavar="FILE", help="a backup, or - for standard input")
    restore.add_argument(
        "--take-over",
        action="store_true",
        help="be the server that was backed up, which must not run any more: its containers are taken up",
    )
    _add_accounts(commands)
    doctor = add(
        "doctor", operations.doctor, "Find where database, files and engine of RAPIDFLOW_DATA disagree."
    )
    doctor.add_argument("--fix", action="store_true", help="mend what can be mended")
    return parser


def _adder(commands: Any) -> Callable[[str, _Command, str], argparse.ArgumentParser]:
    """What adds a command to those of a parser."""

    def add(name: str, command: _Command, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(command=command, parser=sub)
        return sub

    return add


def _add_accounts(commands: Any) -> None:
    """The commands that have commands of their own."""

    def group(name: str, text: str) -> Callable[[str, _Command, str], argparse.ArgumentParser]:
        parser = commands.add_parser(name, help=text, description=text)
        return _adder(parser.add_subparsers(metavar="COMMAND", required=True))

    add = group("user", "Add, change, remove and list users, beside a server or before its first start.")
    user = add(
        "add", accounts.add_user, "Add a user; asks for a password, or reads a line of standard input."
    )
    user.add_argument("name", metavar="NAME")
    user.add_argument("--role", choices=accounts.ROLES, default="viewer")
    user.add_argument("--no-password", action="store_true", help="only a proxy in front can log them in")
    user = add("set", accounts.set_user, "Change a user.")
    user.add_argument("name", metavar="NAME")
    user.add_argument("--role", choices=accounts.ROLES)
    user.add_argument("--password", action="store_true", help="ask for a new password")
    add("remove", accounts.remove_user, "Remove a user.").add_argument("name", metavar="NAME")
    add("list", accounts.list_users, "List the users.")

    add = group("token", "Make, revoke and list tokens for the API and for this command (RAPIDFLOW_TOKEN).")
    token = add("add", accounts.add_token, "Make a token and print it, which nothing does again.")
    token.add_argument("user", metavar="USER")
    token.add_argument("name", metavar="NAME", help="what it is for")
    token.add_argument("--role", choices=accounts.ROLES, help="default: that of the user")
    token.add_argument(
        "--pipeline", type=int, action="append", metavar="ID", help="see only these; repeat it"
    )
    token.add_argument("--days", type=int, metavar="N", help="expires after so many days")
    add("revoke", accounts.revoke_token, "Revoke a token.").add_argument("id", metavar="ID", type=int)
    add("list", accounts.list_tokens, "List the tokens, without what they are shown by.")

    add = group("secret", "Store, remove and list secrets of builds; change their key.")
    secret = add("set", _asking(accounts.set_secret), "Store a secret, read from standard input.")
    secret.add_argument("name", metavar="NAME")
    secret.add_argument("--pipeline", metavar="ID", help="only this pipeline may name it")
    secret = add("remove", _asking(accounts.remove_secret), "Remove a secret.")
    secret.add_argument("name", metavar="NAME")
    secret.add_argument("--pipeline", metavar="ID")
    secret = add("list", _asking(accounts.list_secrets), "List the names of secrets.")
    secret.add_argument("--pipeline", metavar="ID")
    add("rotate", accounts.rotate_key, "Encrypt all secrets with a new key.")
    add("key", accounts.print_key, "Print a new key for RAPIDFLOW_SECRETS_KEY.")


def _local_url(bind: str) -> str:
    """Where the server of this machine is that listens at `bind`."""
    host, _, port = bind.rpartition(":")
    if not port.isdigit():
        return _DEFAULT_URL
    return f"http://{'127.0.0.1' if host in ('', '0.0.0.0', '[::]', '::') else host}:{port}"  # noqa: S104


def _run(options: argparse.Namespace) -> int:
    client = _client(options)
    body: dict[str, Any] = {"environments": _variables(options.env)}
    if options.branch is not None:
        body["branch"] = options.branch
    pipeline_id = _pipeline_id(client, options.pipeline)
    return _follow(client, client.call("POST", f"/pipelines/{pipeline_id}/jobs", body))


def _logs(options: argparse.Namespace) -> int:
    query: dict[str, Any] = {"follow": "true"} if options.follow else {}
    if options.tail is not None:
        query["tail"] = options.tail
    _print(_client(options).stream(options.job, query))
    return 0


def _jobs(options: argparse.Namespace) -> int:
    query = _query(limit=options.limit, status=options.status, pipeline_id=options.pipeline)
    row = "{:>7}  {:<9}  {:<24}  {:<20}  {:<12}  {:<20}  {}"
    client = _client(options)
    jobs = client.call("GET", f"/jobs?{query}")
    names = {pipeline["id"]: pipeline["name"] for pipeline in client.call("GET", "/pipelines?limit=200")}
    out(row.format("JOB", "STATUS", "PIPELINE", "BRANCH", "COMMIT", "CREATED", "DURATION"))
    for job in jobs:
        commit, branch = safe(job["commit"] or "-")[:12], safe(job["branch"] or "-")[:20]
        out(
            row.format(
                job["id"],
                job["status"],
                safe(f"{job['pipeline_id']} {names.get(job['pipeline_id'], '')}")[:24],
                branch,
                commit,
                job["created_at"],
                _duration(job),
            )
        )
    return 0


def _cancel(options: argparse.Namespace) -> int:
    out(_client(options).call("POST", f"/jobs/{quote(options.job, safe='')}/cancel")["message"])
    return 0


def _retry(options: argparse.Namespace) -> int:
    client = _client(options)
    job = client.call("POST", f"/jobs/{quote(options.job, safe='')}/retry")
    if options.follow:
        return _follow(client, job)
    out(f"job {job['id']} started")
    return 0


def _validate(options: argparse.Namespace) -> int:
    name = "standard input" if options.file == "-" else options.file
    try:
        _, definition = _read(None if options.file == "-" else Path(options.file))
    except Invalid as error:
        for problem in error.problems:
            note(f"{name}: {problem.message}")
        return _FAILED
    count = len(definition.steps)
    out(f"{name}: '{definition.name}' is valid, {count} step{'' if count == 1 else 's'}")
    return 0


def _client(options: argparse.Namespace) -> Client:
    return Client(options.url, _say)


def _asking(command: Callable[[argparse.Namespace, Client], int]) -> _Command:
    """A command that asks the server."""
    return lambda options: command(options, _client(options))


def _follow(client: Client, job: dict[str, Any]) -> int:
    """Prints the job's log until the build ends; the exit code tells how it ended."""
    job_id = str(job["id"])
    note(f"job {job_id} started")
    if why := _why_it_waits(client):
        note(f"job {job_id} waits: {why}")
    try:
        _print(client.stream(job_id, {"follow": "true"}))
        return 0 if client.status(job_id) == "success" else _FAILED
    except KeyboardInterrupt:
        note("")
        _say_it_goes_on(job_id)
        return _INTERRUPTED
    except BrokenPipeError:
        raise
    except OSError:
        _say_it_goes_on(job_id)
        raise


def _say_it_goes_on(job_id: str) -> None:
    note(
        f"job {job_id} goes on; 'rapidflow logs -f {job_id}' follows it, 'rapidflow cancel {job_id}' stops it"
    )


def _why_it_waits(client: Client) -> str:
    """Why a job that was just started waits; empty where it need not."""
    try:
        ready = client.call("GET", "/ready", also=(503,))
    except ClientError:
        return ""  # the job is started; whether it can be followed is found out by that
    if ready["status"] == "draining":
        return "the server is going to end and starts no more builds; the next one starts it"
    return "; ".join(ready[part] for part in ("database", "engine", "disk") if ready[part] != "ok")


def _print(chunks: Iterable[bytes]) -> None:
    for chunk in chunks:
        sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()


def _pipeline_id(client: Client, named: str) -> str:
    """The pipeline that a file, an id or a name stands for; a file's is stored, or brought up to date."""
    if Path(named).is_file():
        return _stored(client, Path(named))
    if named.isascii() and named.isdigit():
        return named
    if named.endswith((".yml", ".yaml")):
        raise ClientError(f"there is no file {named}")
    found = client.call("GET", f"/pipelines?{_query(name=named)}")
    if not found:
        raise ClientError(f"there is no pipeline and no file '{named}'")
    if len(found) > 1:
        raise ClientError(f"there are several pipelines '{named}'; name one by its id: {_ids(found)}")
    return str(found[0]["id"])


def _stored(client: Client, file: Path) -> str:
    from rapidflow_web.pipeline.logins import taken_out

    try:
        config, definition = _read(file)
    except Invalid as error:
        raise ClientError("\n".join(f"{file}: {problem.message}" for problem in error.problems)) from None
    found = client.call("GET", f"/pipelines?{_query(name=definition.name, limit=200)}")
    public, password = taken_out(config)
    for pipeline in found:
        if pipeline["config"] == public:
            if password is not None:  # it may be another than that of the last time
                client.call("PUT", f"/pipelines/{pipeline['id']}", {"config": config})
            return str(pipeline["id"])
    if len(found) > 1:
        # Any of them may be somebody else's.
        raise ClientError(
            f"there are several pipelines '{definition.name}', none of them as in {file}: {_ids(found)}; "
            "give this one a name of its own, or update one of them and run it by its id"
        )
    if found:
        pipeline = client.call("PUT", f"/pipelines/{found[0]['id']}", {"config": config})
        note(f"pipeline {pipeline['id']} '{definition.name}' updated from {file}")
    else:
        pipeline = client.call("POST", "/pipelines", {"config": config})
        note(f"pipeline {pipeline['id']} '{definition.name}' stored from {file}")
    return str(pipeline["id"])


def _read(file: Path | None) -> tuple[str, ParsedPipeline]:
    """The pipeline in a file or on standard input, as text and parsed. Raises `Invalid`."""
    from rapidflow_web.pipeline.parser import parse

    data = sys.stdin.buffer.read() if file is None else file.read_bytes()
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise Invalid([Problem("", "this is not a text file in UTF-8")]) from None
    # Which file repositories are allowed is for the server to say.
    return text, parse(text, ("/",))


def _ids(found: Sequence[dict[str, Any]]) -> str:
    return ", ".join(str(pipeline["id"]) for pipeline in found)


def _variables(given: Sequence[str]) -> dict[str, str]:
    variables: dict[str, str] = {}
    for entry in given:
        key, separator, value = entry.partition("=")
        if not separator or not key:
            raise ClientError(f"--env {entry!r} is not KEY=VALUE")
        variables[key] = value
    return variables


def _query(**values: Any) -> str:
    return urlencode({key: value for key, value in values.items() if value is not None})


def _duration(job: dict[str, Any]) -> str:
    if job["started_at"] is None:
        return "-"
    end = datetime.fromisoformat(job["finished_at"]) if job["finished_at"] else datetime.now(UTC)
    seconds = max(0, round((end - datetime.fromisoformat(job["started_at"])).total_seconds()))
    return f"{seconds // 60}m{seconds % 60:02}s"
