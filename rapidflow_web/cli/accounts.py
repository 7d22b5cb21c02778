"""The commands on users, tokens and secrets.

Those on users, on tokens and on the key of secrets work on the database of the settings, beside a server;
those on secrets ask the server.
"""

from __future__ import annotations

import asyncio
import getpass
import os
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from rapidflow_web.cli import response_shapes
from rapidflow_web.cli.builds import pipeline_id, the_one
from rapidflow_web.cli.client import Client, ClientError, asks_server
from rapidflow_web.terminal import note, out

# What these need is imported where it is used, because that takes a second.
if TYPE_CHECKING:
    from rapidflow_web.db.models import User

_DATA = "RAPIDFLOW_DATA"
_LARGEST_ID = 2**63 - 1
"""Databases can't be asked for more."""
_role = click.Choice(["viewer", "builder", "admin"])
_pipeline = click.option("--pipeline", metavar="PIPELINE", help="Only for this pipeline (ID or name).")


@click.group
def user() -> None:
    """Add, change, remove and list users.

    These commands work on the data folder, beside a running server or before its first start.
    """


@click.group
def token() -> None:
    """Create, revoke and list API tokens.

    The API and this command (with RAPIDFLOW_TOKEN) take tokens.
    """


@click.group
def secret() -> None:
    """Store, remove and list secrets; change their key."""


@user.command("add")
@click.argument("name", metavar="NAME")
@click.option("--role", type=_role, default="viewer", show_default=True)
@click.option("--no-password", is_flag=True, help="Only a proxy in front can log the user in.")
def add_user(name: str, role: str, no_password: bool) -> int:
    """Add a user; asks for a password, or reads a line of standard input."""
    password = None if no_password else _password()

    async def add() -> None:
        from rapidflow_web.accounts.authentication import hashed
        from rapidflow_web.accounts.changes import described_change
        from rapidflow_web.db import users

        is_first = not await users.any_exist()
        if is_first and role != "admin":
            raise ClientError(
                f"the first user must be an administrator: rapidflow user add {name} --role admin"
            )
        stored = await hashed(password, name) if password is not None else None
        if await users.create(name, role, stored) is None:
            raise ClientError(f"there is a user {name} already; 'rapidflow user set' changes it")
        await _note("user add", described_change(name, role))
        out(f"{role} {name} added")
        if is_first:
            note(
                "From now on everybody logs in, and hooks and programs need a token ('rapidflow token add')."
            )

    _check_name(name)
    return _run(add, first=True)


@user.command("set")
@click.argument("name", metavar="NAME")
@click.option("--role", type=_role)
@click.option("--password", "new_password", is_flag=True, help="Ask for a new password.")
def set_user(name: str, role: str | None, new_password: bool) -> int:
    """Change a user's role or password."""
    if role is None and not new_password:
        raise ClientError("say what to set: --role ROLE, --password, or both")
    password = _password() if new_password else None

    async def change() -> None:
        from rapidflow_web.accounts.authentication import hashed
        from rapidflow_web.accounts.changes import described_change
        from rapidflow_web.db import users

        user = await _existing(name)
        fields: dict[str, Any] = {"role": role} if role is not None else {}
        if password is not None:
            fields["password"] = await hashed(password, name)
        if not await users.change(user.id, **fields):
            raise ClientError(f"{name} is the last administrator; make somebody else one first")
        await _note("user set", described_change(name, role, password=password is not None))
        out(f"{name} changed")

    return _run(change)


@user.command("remove")
@click.argument("name", metavar="NAME")
def remove_user(name: str) -> int:
    """Remove a user, with all sessions and tokens."""

    async def remove() -> None:
        from rapidflow_web.db import users

        if not await users.remove((await _existing(name)).id):
            raise ClientError(f"{name} is the last administrator; make somebody else one first")
        await _note("user remove", name)
        out(f"{name} removed")

    return _run(remove)


@user.command("list")
def list_users() -> int:
    """List the users."""

    async def show() -> None:
        from rapidflow_web.db import users

        listed = await users.listed()
        if not listed:
            note("there are no users")
        for one in listed:
            out(f"{one.name:<32} {one.role:<8} {'' if one.password else 'no password'}".rstrip())

    return _run(show)


@token.command("add")
@click.argument("user_name", metavar="USER")
@click.argument("name", metavar="NAME")
@click.option("--role", "role_name", type=_role, help="Default: the user's role.")
@click.option(
    "--pipeline",
    multiple=True,
    metavar="PIPELINE",
    help="Only for this pipeline (ID or name); can be repeated.",
)
@click.option("--days", type=int, metavar="N", help="Expire after N days.")
def add_token(
    user_name: str, name: str, role_name: str | None, pipeline: tuple[str, ...], days: int | None
) -> int:
    """Create a token of USER and print it, once. NAME says what it is for."""

    async def add() -> None:
        from rapidflow_web.accounts.authentication import new_token
        from rapidflow_web.accounts.credentials import LONGEST_TOKEN_LIFE, token_name
        from rapidflow_web.accounts.roles import role_named

        if days is not None and not 1 <= days <= LONGEST_TOKEN_LIFE:
            raise ClientError(
                f"--days is from 1 to {LONGEST_TOKEN_LIFE}; leave it out for a token that never expires"
            )
        try:
            called = token_name(name)
        except ValueError as error:
            raise ClientError(f"NAME: {error}") from None
        owner = await _existing(user_name)
        may = role_named(role_name or owner.role)
        if may > role_named(owner.role):
            raise ClientError(f"{owner.name} is {owner.role}; a token can't have a higher role")
        only = [await _id_of(named) for named in pipeline]
        made = await new_token(owner, called, may, only or None, days)
        await _note("token add", f"{user_name}: {called}")
        out(made[1])

    return _run(add)


@token.command("list")
def list_tokens() -> int:
    """List the tokens, without their values."""

    async def show() -> None:
        from rapidflow_web.db import users
        from rapidflow_web.db.database import now_ms

        listed = await users.tokens()
        if not listed:
            note("there are no tokens")
        for one in listed:
            expires = "for ever"
            if one.expires_at is not None:
                verb = "expires" if one.expires_at > now_ms() else "expired"
                expires = f"{verb} {_time(one.expires_at)}"
            used = f"used {_time(one.used_at)}" if one.used_at is not None else "never used"
            out(f"{one.id:>5} {one.user.name:<20} {one.role:<8} {expires}, {used}  {one.name}")

    return _run(show)


@token.command("revoke")
@click.argument("token_id", metavar="ID", type=int)
def revoke_token(token_id: int) -> int:
    """Revoke a token."""

    async def revoke() -> None:
        from rapidflow_web.db import users

        token = await users.token(token_id) if 0 < token_id <= _LARGEST_ID else None
        if token is None or not await users.revoke(token_id):
            raise ClientError(f"there is no token {token_id}; 'rapidflow token list' shows all")
        # Its number alone would lead nobody to what it was.
        await _note("token revoke", f"{token.user.name}: {token.name}")
        out(f"token {token_id} revoked; a running server knows within 5 s")

    return _run(revoke)


@secret.command("set")
@click.argument("name", metavar="NAME")
@_pipeline
@asks_server
def set_secret(client: Client, name: str, pipeline: str | None) -> int:
    """Store a secret; asks for the value, or reads standard input."""
    value = getpass.getpass(f"{name}: ") if sys.stdin.isatty() else sys.stdin.read().removesuffix("\n")
    path = f"{_secrets_path(client, pipeline)}/{quote(name, safe='')}"
    client.call("PUT", path, {"value": value}, shape=response_shapes.anything)
    out(f"secret {name} stored")
    return 0


@secret.command("remove")
@click.argument("name", metavar="NAME")
@_pipeline
@asks_server
def remove_secret(client: Client, name: str, pipeline: str | None) -> int:
    """Remove a secret."""
    path = f"{_secrets_path(client, pipeline)}/{quote(name, safe='')}"
    out(client.call("DELETE", path, shape=response_shapes.MESSAGE)["message"])
    return 0


@secret.command("list")
@_pipeline
@asks_server
def list_secrets(client: Client, pipeline: str | None) -> int:
    """List the names of secrets, without their values."""
    listed = client.call("GET", _secrets_path(client, pipeline), shape=response_shapes.SECRETS)
    if not listed:
        note("there are no secrets")
    for one in listed:
        out(f"{one['name']:<40} {one['updated_at']}  {one['updated_by']}")
    return 0


def _secrets_path(client: Client, pipeline: str | None) -> str:
    return f"/pipelines/{pipeline_id(client, pipeline)}/secrets" if pipeline else "/secrets"


@secret.command("rotate")
def rotate_key() -> int:
    """Encrypt all secrets with a new key."""

    async def rotate() -> None:
        from rapidflow_web.data_folder import check_user
        from rapidflow_web.secrets.keys import Keys
        from rapidflow_web.secrets.vault import Vault
        from rapidflow_web.settings import from_environment

        settings = from_environment(os.environ)
        if not settings.secrets_key:
            check_user(settings.data, "rapidflow secret rotate")
        if len(settings.secrets_key) == 1:
            raise ClientError(
                "put a new key before the old one, RAPIDFLOW_SECRETS_KEY=NEW,OLD, restart the server with "
                "both, and try again; 'rapidflow secret key' makes one"
            )
        count = await Vault(Keys(settings.data, settings.secrets_key)).rotate()
        await _note("secret rotate", str(count))
        out(f"{count} secret{'' if count == 1 else 's'} encrypted with a new key")
        if settings.secrets_key:
            out("set RAPIDFLOW_SECRETS_KEY to the new key alone, and restart the server")

    return _run(rotate)


@secret.command("key")
def print_key() -> int:
    """Print a new key for RAPIDFLOW_SECRETS_KEY."""
    from rapidflow_web.secrets.keys import new_key

    out(new_key())
    return 0


def _run(command: Callable[[], Awaitable[None]], *, first: bool = False) -> int:
    """Runs a command with the database; one that may be the `first` of all makes it where it is missing."""
    from rapidflow_web.data_folder import DATABASE, DataFolder, check_is_whole
    from rapidflow_web.db.database import close_database, connected, open_database, sqlite_url
    from rapidflow_web.settings import from_environment

    settings = from_environment(os.environ)
    check_is_whole(settings.data)
    if not settings.database_url and not os.environ.get(_DATA) and not (settings.data / DATABASE).exists():
        # Otherwise the user would be added to a new folder that no server uses.
        raise ClientError(f"no installation is in {settings.data}; name its folder with {_DATA}")
    url = settings.database_url or sqlite_url(settings.data / DATABASE)

    async def run() -> None:
        if first:
            # A mistyped folder, or that of no server, would take the user without a word.
            if not settings.database_url and not (settings.data / DATABASE).exists():
                if (settings.data / "key").exists():
                    # A new database beside it would take the user, and backups would be of that one.
                    raise ClientError(
                        f"the server of {settings.data} has its database elsewhere; "
                        "set RAPIDFLOW_DATABASE_URL as for the server"
                    )
                note(f"no installation is in {settings.data} yet, so this one is new")
            DataFolder(settings.data)
            await open_database(url, settings.data)
            await close_database()
        async with connected(url):
            await command()

    asyncio.run(run())
    return 0


async def _id_of(pipeline: str) -> int:
    from rapidflow_web.db import pipelines

    if pipeline.isascii() and pipeline.isdigit():
        # Otherwise the token would see a pipeline that gets this number later.
        if len(pipeline) > 18 or await pipelines.get(int(pipeline)) is None:
            raise ClientError(f"there is no pipeline {pipeline}")
        return int(pipeline)
    return the_one([one.id for one in await pipelines.listed(name=pipeline)], pipeline)


async def _existing(name: str) -> User:
    from rapidflow_web.db import users

    found = await users.named(name)
    if found is None:
        raise ClientError(f"there is no user {name}; 'rapidflow user list' shows all")
    return found


async def _note(action: str, target: str) -> None:
    from rapidflow_web.db import audit

    await audit.note(f"{getpass.getuser()}{audit.COMMAND}", "", action, target, 0)


def _check_name(name: str) -> None:
    from rapidflow_web.accounts.credentials import check_name

    try:
        check_name(name)
    except ValueError as error:
        raise ClientError(str(error)) from None


def _password() -> str:
    """A password: typed twice, or a line of standard input."""
    from rapidflow_web.accounts.credentials import check_password

    if sys.stdin.isatty():
        password = getpass.getpass("Password: ")
        if getpass.getpass("Again: ") != password:
            raise ClientError("these were two different passwords; try again")
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    try:
        check_password(password)
    except ValueError as error:
        raise ClientError(str(error)) from None
    return password


def _time(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d %H:%M")
