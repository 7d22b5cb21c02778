"""The commands on users, tokens and secrets.

Those on users, on tokens and on the key of secrets work on the database of the settings, beside a server;
those on secrets ask the server.
"""

from __future__ import annotations

import argparse
import asyncio
import getpass
import os
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

from rapidflow_web.cli.client import Client, ClientError
from rapidflow_web.terminal import note, out

# What these need is imported where it is used, because that takes a second.
if TYPE_CHECKING:
    from rapidflow_web.db.models import User

ROLES = ("viewer", "builder", "admin")


def add_user(options: argparse.Namespace) -> int:
    """Adds a user; asks for the password."""
    password = None if options.no_password else _password()

    async def add() -> None:
        from rapidflow_web.accounts.authentication import hashed
        from rapidflow_web.db import users

        stored = await hashed(password) if password is not None else None
        if await users.create(options.name, options.role, stored) is None:
            raise ClientError(f"there is a user {options.name} already; 'rapidflow user set' changes it")
        await _note("user add", options.name)
        out(f"{options.role} {options.name} added")

    _check_name(options.name)
    return _run(add, first=True)


def set_user(options: argparse.Namespace) -> int:
    """Gives a user another role or password."""
    if options.role is None and not options.password:
        raise ClientError("say what to set: --role ROLE, --password, or both")
    password = _password() if options.password else None

    async def change() -> None:
        from rapidflow_web.accounts.authentication import hashed
        from rapidflow_web.db import users

        user = await _existing(options.name)
        fields = {"role": options.role} if options.role is not None else {}
        if password is not None:
            fields["password"] = await hashed(password)
        if not await users.change(user.id, **fields):
            raise ClientError(f"{options.name} is the last administrator; make somebody else one first")
        await _note("user set", options.name)
        out(f"{options.name} changed")

    return _run(change)


def remove_user(options: argparse.Namespace) -> int:
    """Removes a user with sessions and tokens."""

    async def remove() -> None:
        from rapidflow_web.db import users

        if not await users.remove((await _existing(options.name)).id):
            raise ClientError(f"{options.name} is the last administrator; make somebody else one first")
        await _note("user remove", options.name)
        out(f"{options.name} removed")

    return _run(remove)


def list_users(_: argparse.Namespace) -> int:
    """Prints the users."""

    async def show() -> None:
        from rapidflow_web.db import users

        for user in await users.listed():
            out(f"{user.name:<32} {user.role:<8} {'' if user.password else 'no password'}".rstrip())

    return _run(show)


def add_token(options: argparse.Namespace) -> int:
    """Makes a token and prints it, which nothing ever does again."""

    async def add() -> None:
        from rapidflow_web.accounts.authentication import new_token
        from rapidflow_web.accounts.roles import role

        user = await _existing(options.user)
        may = role(options.role or user.role)
        if may > role(user.role):
            raise ClientError(f"{user.name} is {user.role}; a token can't have a higher role")
        made = await new_token(user, options.name, may, options.pipeline or None, options.days)
        await _note("token add", f"{options.user}: {options.name}")
        out(made[1])

    return _run(add)


def list_tokens(_: argparse.Namespace) -> int:
    """Prints the tokens, without what they are shown by."""

    async def show() -> None:
        from rapidflow_web.db import users

        for one in await users.tokens():
            expires = f"expires {_time(one.expires_at)}" if one.expires_at is not None else "for ever"
            used = f"used {_time(one.used_at)}" if one.used_at is not None else "never used"
            out(f"{one.id:>5} {one.user.name:<20} {one.role:<8} {expires}, {used}  {one.name}")

    return _run(show)


def revoke_token(options: argparse.Namespace) -> int:
    """Revokes a token."""

    async def revoke() -> None:
        from rapidflow_web.db import users

        if not await users.revoke(options.id):
            raise ClientError(f"there is no token {options.id}; 'rapidflow token list' shows all")
        await _note("token revoke", str(options.id))
        out(f"token {options.id} revoked; a running server knows within 5 s")

    return _run(revoke)


def set_secret(options: argparse.Namespace, client: Client) -> int:
    """Stores a secret; asks for the value, or reads standard input."""
    if sys.stdin.isatty():
        value = getpass.getpass(f"{options.name}: ")
    else:
        value = sys.stdin.read().removesuffix("\n")
    client.call("PUT", f"{_secrets_path(options)}/{quote(options.name, safe='')}", {"value": value})
    out(f"secret {options.name} stored")
    return 0


def remove_secret(options: argparse.Namespace, client: Client) -> int:
    """Removes a secret."""
    out(client.call("DELETE", f"{_secrets_path(options)}/{quote(options.name, safe='')}")["message"])
    return 0


def list_secrets(options: argparse.Namespace, client: Client) -> int:
    """Prints the names of secrets, when they were stored, and by whom."""
    for secret in client.call("GET", _secrets_path(options)):
        out(f"{secret['name']:<40} {secret['updated_at']}  {secret['updated_by']}")
    return 0


def _secrets_path(options: argparse.Namespace) -> str:
    return f"/pipelines/{quote(options.pipeline, safe='')}/secrets" if options.pipeline else "/secrets"


def rotate_key(_: argparse.Namespace) -> int:
    """Encrypts all secrets with a new key."""

    async def rotate() -> None:
        from rapidflow_web.secrets.keys import Keys
        from rapidflow_web.secrets.vault import Vault
        from rapidflow_web.settings import from_environment

        settings = from_environment(os.environ)
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


def print_key(_: argparse.Namespace) -> int:
    """Prints a new key, for RAPIDFLOW_SECRETS_KEY."""
    from rapidflow_web.secrets.keys import new_key

    out(new_key())
    return 0


def _run(command: Callable[[], Awaitable[None]], *, first: bool = False) -> int:
    """Runs a command with the database; one that may be the `first` of all makes it where it is missing."""
    from rapidflow_web.data_folder import DATABASE, DataFolder
    from rapidflow_web.db.database import close_database, connected, open_database, sqlite_url
    from rapidflow_web.settings import from_environment

    settings = from_environment(os.environ)
    url = settings.database_url or sqlite_url(settings.data / DATABASE)

    async def run() -> None:
        if first:
            # A mistyped folder, or that of no server, would take the user without a word.
            if not settings.database_url and not (settings.data / DATABASE).exists():
                note(f"no installation is in {settings.data} yet, so this one is new")
            DataFolder(settings.data)
            await open_database(url, settings.data)
            await close_database()
        async with connected(url):
            await command()

    asyncio.run(run())
    return 0


async def _existing(name: str) -> User:
    from rapidflow_web.db import users

    user = await users.named(name)
    if user is None:
        raise ClientError(f"there is no user {name}; 'rapidflow user list' shows all")
    return user


async def _note(action: str, target: str) -> None:
    from rapidflow_web.db import audit

    await audit.note(f"{getpass.getuser()} (command line)", "", action, target, 0)


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
