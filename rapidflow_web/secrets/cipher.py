"""How secrets are encrypted. What is encrypted says what it is: a value in another's place is refused."""

from __future__ import annotations

import json
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from rapidflow_web.db.models import Mask, Secret
from rapidflow_web.secrets.keys import MASK, VaultError


def of(keys: Sequence[str]) -> MultiFernet:
    """What encrypts with the first of the keys, and decrypts with any. Raises `VaultError`."""
    if not keys:
        raise VaultError("the key of the secrets is missing; put secrets.key back into the data folder")
    try:
        return MultiFernet([Fernet(key) for key in keys])
    except ValueError:
        raise VaultError(
            "RAPIDFLOW_SECRETS_KEY or secrets.key is not a key; put the right one back"
        ) from None


def sealed(keys: Sequence[str], about: Sequence[object], value: str) -> str:
    """A value encrypted, with what it is about. Raises `VaultError`."""
    return of(keys).encrypt(json.dumps([*about, value]).encode()).decode()


def opened(keys: Sequence[str], row: Secret | Mask) -> str:
    """The value of a row. Raises `VaultError`."""
    about, words = _about(row)
    try:
        *said, value = json.loads(of(keys).decrypt(row.value.encode()))
    except InvalidToken:
        raise VaultError(
            f"{words} was stored with another key; put that key back, or store it again"
        ) from None
    if said != about:
        raise VaultError(f"what is stored as {words} belongs to another; store it again")
    return value


def opens(keys: Sequence[str], row: Secret | Mask) -> bool:
    """Whether one of the keys is that of a row. Raises `VaultError`."""
    try:
        of(keys).decrypt(row.value.encode())
    except InvalidToken:
        return False
    return True


def rotated(keys: Sequence[str], row: Secret | Mask) -> str:
    """The value of a row encrypted anew, with the first of the keys. Raises `VaultError`."""
    return of(keys).rotate(row.value.encode()).decode()


def _about(row: Secret | Mask) -> tuple[list[object], str]:
    """What a row says of itself when it is encrypted, and what people call it."""
    if isinstance(row, Secret):
        return [row.scope, row.name], f"the secret {row.name}"
    return [MASK, row.job_id], f"what job {row.job_id} masks"
