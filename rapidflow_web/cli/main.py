"""The `rapidflow` command: its groups, its exit codes, and what it says when a command fails."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click
from click.shell_completion import shell_complete

from rapidflow_web import __version__
from rapidflow_web.cli import (
    accounts,
    approvals,
    builds,
    cluster,
    completion,
    operations,
    repositories,
    validation,
)
from rapidflow_web.cli.client import Client, ClientError, Unreadable
from rapidflow_web.errors import RapidFlowError
from rapidflow_web.terminal import drop_output, note, open_missing

_DEFAULT_URL = "http://127.0.0.1:3000"
_FAILED, _TROUBLE, _INTERRUPTED, _PIPE_CLOSED = 1, operations.TROUBLE, 130, 141


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command and exits with its code."""
    if instruction := os.environ.get(completion.VARIABLE):
        sys.exit(shell_complete(rapidflow, {}, "rapidflow", completion.VARIABLE, instruction))
    had_output = open_missing()
    try:
        code = _run(sys.argv[1:] if arguments is None else list(arguments), had_output)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has enough, as in `rapidflow jobs | head`.
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
    except (EOFError, click.Abort):
        # The end of the input, such as Ctrl-D; click says the same of Ctrl-C.
        note("")
        _say("the question was not answered, so nothing was done; see --help for doing without it")
        code = _TROUBLE
    except KeyboardInterrupt:
        code = _INTERRUPTED
    sys.exit(code)


def _run(arguments: list[str], had_output: bool) -> int:
    """Runs the command itself. click's own `main` would end with codes and sentences of its own."""
    try:
        with rapidflow.make_context("rapidflow", arguments, obj=had_output) as context:
            return rapidflow.invoke(context)
    except click.exceptions.Exit as end:  # after --help and --version
        return end.exit_code
    except click.exceptions.NoArgsIsHelpError as help_text:
        print(help_text.format_message(), file=sys.stderr)
        return _TROUBLE
    except click.UsageError as error:
        if error.ctx is not None:
            print(error.ctx.get_usage(), file=sys.stderr)
            note(f"'{error.ctx.command_path} --help' shows more.")
        _say(error.format_message())
        return _TROUBLE


def _say(sentences: str) -> None:
    for sentence in sentences.splitlines():
        note(f"rapidflow: {sentence}")


class _Sections(click.Group):
    """A group whose help lists the commands in sections."""

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)  # pyright: ignore[reportArgumentType]
        self._sections: list[tuple[str, tuple[click.Command, ...]]] = []

    def add_section(self, title: str, *commands: click.Command) -> None:
        self._sections.append((title, commands))
        for command in commands:
            self.add_command(command)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [command.name or "" for _, commands in self._sections for command in commands]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, self.list_commands(ctx)))
        for title, commands in self._sections:
            with formatter.section(title):
                formatter.write_dl(
                    [(f"{command.name:<{width}}", command.get_short_help_str(100)) for command in commands]
                )


def _server_url() -> str:
    """RAPIDFLOW_URL, or else where a server with this RAPIDFLOW_BIND listens."""
    if url := os.environ.get("RAPIDFLOW_URL"):
        return url
    host, _, port = os.environ.get("RAPIDFLOW_BIND", "").rpartition(":")
    if not port.isdigit():
        return _DEFAULT_URL
    return f"http://{'127.0.0.1' if host in ('', '0.0.0.0', '[::]', '::') else host}:{port}"  # noqa: S104


@click.group(cls=_Sections, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="rapidflow %(version)s")
@click.option(
    "--url",
    metavar="URL",
    default=_server_url,
    show_default=f"RAPIDFLOW_URL, the port of RAPIDFLOW_BIND, or {_DEFAULT_URL}",
    help="The server.",
)
@click.pass_context
def rapidflow(context: click.Context, url: str) -> None:
    """Run builds and follow them."""
    had_output = context.obj
    if not had_output and context.invoked_subcommand != operations.serve.name:
        # Before a command starts something whose result it could not print.
        raise ClientError("standard output is closed; open it, or send it to /dev/null")
    # Made at its first use: a command that works without a server needs no valid URL of one.
    context.obj = lambda: Client(url, _say)


rapidflow.add_section(
    "Builds",
    builds.run,
    builds.logs,
    builds.jobs,
    builds.cancel,
    builds.retry,
    approvals.approve,
    approvals.reject,
    validation.validate,
)
rapidflow.add_section(
    "Repositories",
    repositories.add,
    repositories.connect,
    repositories.repositories,
    repositories.events,
    repositories.deliveries,
    repositories.replay,
    repositories.explain,
)
rapidflow.add_section("Users and secrets", accounts.user, accounts.token, accounts.secret)
rapidflow.add_section(
    "Server",
    operations.serve,
    operations.prune,
    operations.backup,
    operations.restore,
    operations.doctor,
    cluster.cluster,
)
rapidflow.add_section("Shell", completion.completion)
