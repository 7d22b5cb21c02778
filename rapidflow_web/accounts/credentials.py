"""Names, passwords, and the random secrets of sessions and tokens."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import re
import secrets
from typing import TYPE_CHECKING

from rapidflow_web.accounts.fair_slots import FairSlots

# Imported where it is used: many servers run for days before anyone logs in.
if TYPE_CHECKING:
    import argon2

USER_NAME = r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$"
"""Names that can stand in a header and in a log without a question."""
LONGEST_TOKEN_NAME = 64
LONGEST_TOKEN_LIFE = 3650
"""Days."""
LEAST_PASSWORD = 8
_MOST_PASSWORD = 1024
TOKEN_PREFIX = "rapidflow_"  # noqa: S105, so that scanners for leaked tokens can find one
# Each takes 64 MiB and a core: a flood of logins must not take all there is.
_slots = FairSlots(2)


def check_name(name: str) -> None:
    """Raises ValueError for what can't be the name of a user."""
    if not re.fullmatch(USER_NAME, name):
        raise ValueError(f"'{name[:80]}' is not a valid name; use at most 64 letters, digits and . _ - @")


def token_name(name: str) -> str:
    """The name without white space around it. Raises ValueError for what can't be the name of a token."""
    name = name.strip()
    if not 1 <= len(name) <= LONGEST_TOKEN_NAME or re.search(r"[\x00-\x1f\x7f]", name):
        raise ValueError(
            f"use 1 to {LONGEST_TOKEN_NAME} characters, without line breaks or other control characters"
        )
    return name


def check_password(password: str) -> None:
    """Raises ValueError for a password that is too short or too long."""
    if not LEAST_PASSWORD <= len(password) <= _MOST_PASSWORD:
        raise ValueError(f"use a password of {LEAST_PASSWORD} to {_MOST_PASSWORD} characters")


@functools.cache
def _hasher() -> argon2.PasswordHasher:
    import argon2

    return argon2.PasswordHasher()


def hashed(password: str) -> str:
    """The Argon2 hash of a password. Raises ValueError like `check_password`."""
    check_password(password)
    return _hasher().hash(password)


async def hashed_slowly(password: str, whose: str) -> str:
    """The same, made beside the event loop when it is the turn of `whose`. Raises ValueError."""
    async with _slots.slot(whose):
        return await asyncio.to_thread(hashed, password)


async def is_right(password: str, stored: str | None, whose: str) -> bool:
    """Whether a password is the one whose hash is stored. Takes as long where none is.

    `whose` says who asks, such as their address: they take turns.
    """
    async with _slots.slot(whose):
        return await asyncio.to_thread(_verify, password[: _MOST_PASSWORD + 1], stored)


@functools.cache
def _nobodys() -> str:
    return _hasher().hash(secrets.token_urlsafe(32))


def _verify(password: str, stored: str | None) -> bool:
    import argon2

    try:
        return _hasher().verify(stored or _nobodys(), password)
    except argon2.exceptions.VerifyMismatchError:
        return False


def new_secret() -> str:
    """256 random bits as text."""
    return secrets.token_urlsafe(32)


def digest(secret: str) -> str:
    """What is stored of a secret: its SHA-256, of which nobody can make the secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
