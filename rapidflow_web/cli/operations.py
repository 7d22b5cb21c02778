"""The commands for whoever runs the server. They work on the data folder of the settings, beside a server."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from rapidflow_web.cli import response_shapes
from rapidflow_web.cli.client import Client, ClientError, asks_server
from rapidflow_web.cli.meter import Meter
from rapidflow_web.data_folder import SECRETS_KEY
from rapidflow_web.errors import RapidFlowError
from rapidflow_web.terminal import note, out, shown_size

# What these need is imported where it is used, because that takes a second.
if TYPE_CHECKING:
    from rapidflow_web.settings import Settings

TROUBLE = 2
"""The exit code of a command that could not be carried out."""
_WRONG = 1


@click.command
@click.option("--drain", is_flag=True, help="On SIGTERM, start no more builds and wait for running ones.")
def serve(drain: bool) -> int:
    """Run the server.

    RAPIDFLOW_* variables configure it; docs/settings.md lists them.
    """
    # No import is garbage, and looking for some takes a quarter of the start. The app enables it again.
    gc.disable()
    from rapidflow_web.server.imports import quick_imports

    with quick_imports():
        from rapidflow_web import server_log
        from rapidflow_web.server import run
        from rapidflow_web.settings import from_environment

    settings = from_environment(os.environ)
    server_log.configure(settings.log_format)
    try:
        run.serve(settings, drain=drain)
    except RapidFlowError as error:
        if settings.log_format != "json":
            raise
        logging.getLogger(__name__).critical("%s", error)
        return TROUBLE
    sys.stdout.flush()
    # All is closed. The interpreter would take ten times as long for its own end, on a busy machine seconds.
    os._exit(0)


def _backup_name() -> str:
    return f"rapidflow-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.tar"


@click.command
@click.argument("file", metavar="[FILE]", default=_backup_name, type=click.Path())
def backup(file: str) -> int:
    """Back up the data folder, also beside a running server.

    FILE is a tar file, or - for standard output.
    """
    from rapidflow_web.maintenance.backup import back_up
    from rapidflow_web.maintenance.backup_file import written
    from rapidflow_web.settings import from_environment

    settings = from_environment(os.environ)
    if file == "-":
        with Meter("backing up", sys.stdout) as meter:
            counts = asyncio.run(back_up(settings, sys.stdout.buffer, meter))
        _say_backed_up(*counts, settings, "standard output")
        return 0
    target = Path(file)
    if target.is_dir():
        raise ClientError(f"{target} is a folder; name a file, such as {target / _backup_name()}")
    if target.exists():
        raise ClientError(f"{target} is there already; name another file")
    if not target.parent.is_dir():
        raise ClientError(f"there is no folder {target.parent}; make it, or name a file in another")
    with Meter("backing up") as meter, written(target) as output:
        counts = asyncio.run(back_up(settings, output, meter))
    _say_backed_up(*counts, settings, str(target))
    return 0


def _say_backed_up(builds: int, secrets: int, settings: Settings, target: str) -> None:
    note(f"{_count(builds, 'build')} of {settings.data} backed up to {target}")
    if secrets:
        key = "RAPIDFLOW_SECRETS_KEY" if settings.secrets_key else settings.data / SECRETS_KEY
        verb = "is" if secrets == 1 else "are"
        note(f"{_count(secrets, 'secret')} {verb} in it without the key; keep {key} elsewhere")


@click.command
@click.argument("file", metavar="FILE", type=click.Path())
@click.option(
    "--take-over",
    is_flag=True,
    help="Replace the server that was backed up, which must no longer run, and adopt its containers.",
)
def restore(file: str, take_over: bool) -> int:
    """Restore a backup into the empty data folder.

    FILE is a backup, or - for standard input.
    """
    from rapidflow_web.data_folder import user_name
    from rapidflow_web.maintenance import backup as backups
    from rapidflow_web.settings import from_environment

    settings = from_environment(os.environ)

    def read(source: IO[bytes]) -> int:
        with Meter("restoring") as meter:
            return backups.restore(settings, source, take_over=take_over, progress=meter)

    if file == "-":
        secrets = read(sys.stdin.buffer)
    else:
        with Path(file).open("rb") as source:
            secrets = read(source)
    if secrets and not settings.secrets_key:
        needs = f"{_count(secrets, 'secret')} need{'s' if secrets == 1 else ''} it"
        note(f"put the {SECRETS_KEY} of the server that was backed up into {settings.data}: {needs}")
    note(f"restored to {settings.data}; start the server")
    if (owner := settings.data.stat().st_uid) != os.geteuid():
        mine, other = user_name(os.geteuid()), user_name(owner)
        note(f"what is in it belongs to {mine}, the folder to {other}; for a server of {other}, use chown -R")
    return 0


@click.command
@click.option("--fix", is_flag=True, help="Repair what can be repaired.")
def doctor(fix: bool) -> int:
    """Find inconsistencies between database, files and engine."""
    return asyncio.run(_examine(fix=fix))


async def _examine(*, fix: bool) -> int:
    from rapidflow_web.data_folder import check_user
    from rapidflow_web.maintenance import doctor
    from rapidflow_web.server.app import executor_of
    from rapidflow_web.settings import from_environment

    settings = from_environment(os.environ)
    if fix:
        check_user(settings.data, "rapidflow doctor --fix")
    left = mendable = 0
    with Meter("examining") as meter:
        found = doctor.examine(settings, lambda folders: executor_of(settings, folders), meter)
        async for finding in found:
            meter.clear()
            if fix and finding.mend is not None:
                left += not await _mended(finding.what, finding.mend)
            else:
                left += 1
                mendable += finding.mend is not None
                out(finding.what)
    if not left:
        out(f"all is well in {settings.data}")
        return 0
    hint = f"; 'rapidflow doctor --fix' mends {mendable} of them" if mendable else ""
    out(f"{_count(left, 'problem')} in {settings.data}{hint}")
    return _WRONG


async def _mended(what: str, mend: Callable[[], Awaitable[object]]) -> bool:
    from rapidflow_web.db.database import is_away

    try:
        await mend()
    except Exception as error:
        if not (isinstance(error, RapidFlowError | OSError) or is_away(error)):
            raise
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        out(f"{what}, and can't be mended: {reason}")
        return False
    out(f"mended: {what}")
    return True


@click.command
@click.option("--dry-run", is_flag=True, help="Only list what would be removed.")
@asks_server
def prune(client: Client, dry_run: bool) -> int:
    """Remove builds, mirrors and images that the server's settings do not keep."""
    pruned: dict[str, Any] = client.call(
        "POST", f"/prune?dry_run={'true' if dry_run else 'false'}", shape=response_shapes.PRUNED
    )
    for build in pruned["builds"]:
        out(
            f"job {build['id']:<8} {build['finished_at']}  {shown_size(build['bytes']):>9}  {build['reason']}"
        )
    for mirror in pruned["mirrors"]:
        out(f"mirror {mirror['name']}  {shown_size(mirror['bytes'])}  last used {mirror['used_at']}")
    for image in pruned["images"]:
        out(f"image {image['name']}  {shown_size(image['bytes'])}")
    kinds = [(pruned["builds"], "build"), (pruned["mirrors"], "mirror"), (pruned["images"], "image")]
    counts = ", ".join(_count(len(found), kind) for found, kind in kinds)
    total = sum(one["bytes"] for found, _ in kinds for one in found)
    out(f"{'would remove' if dry_run else 'removed'} {counts}: {shown_size(total)}")
    return 0


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
