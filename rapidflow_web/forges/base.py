"""The public face of this room: what other rooms import."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from rapidflow_web.forges.shapes import (
    NAMES,
    Api,
    Change,
    ForgeError,
    Headers,
    Kind,
    PullRequest,
    Read,
    State,
    Unreadable,
    WrongSignature,
)

__all__ = [
    "NAMES",
    "Api",
    "Change",
    "ForgeError",
    "Headers",
    "Kind",
    "PullRequest",
    "Read",
    "State",
    "Unreadable",
    "WrongSignature",
    "api_for",
    "delivery_key",
    "event_name",
    "guess",
    "new_secret",
    "read",
    "verify",
]


def guess(url: str) -> str:
    """The forge of a clone URL by its host, `git` where that is not known."""
    raise NotImplementedError


def new_secret() -> str:
    """A secret for a webhook. It has 32 characters, which GitLab demands of keys to sign with."""
    return secrets.token_hex(16)


def event_name(headers: Headers) -> str:
    """The forge's word for what happened, at most 64 characters; empty where it said none."""
    raise NotImplementedError


def delivery_key(headers: Headers) -> str | None:
    """What identifies a delivery: the same for each attempt to deliver it. At most 255 characters."""
    raise NotImplementedError


def verify(headers: Headers, body: bytes, secrets: Sequence[str], now: float) -> None:
    """Raises `WrongSignature` unless the sender knows one of the secrets. Parses nothing.

    It computes a hash of the body for each secret (25 MB: 15 ms), so call it in a thread for a large one.
    `now` is in seconds since 1970.
    """
    raise NotImplementedError


def read(forge: str, headers: Headers, body: bytes) -> Read:
    """What a delivery says. `forge` counts where the headers do not tell. Raises `Unreadable`.

    Call it in a thread: that of 25 MB takes seconds, in which it lets other threads run.
    """
    raise NotImplementedError


def api_for(forge: str, clone_url: str, token: str) -> Api | None:
    """The API of the forge, which is at the host of the clone URL. None where there is none."""
    raise NotImplementedError
