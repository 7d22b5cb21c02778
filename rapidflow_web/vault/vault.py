"""Encrypts and decrypts secrets.

What is encrypted says which secret it is: a value that somebody copies to another row of the database is
refused there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from rapidflow_web.db import secrets
from rapidflow_web.db.models import Secret
from rapidflow_web.errors import BuildError, Invalid, Problem, RapidFlowError
from rapidflow_web.vault.keys import Keys, new_key

LEAST_BYTES = 6
MOST_BYTES = 64 * 1024
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
CLONE_USER, CLONE_PASSWORD = "RAPIDFLOW_CLONE_USER", "RAPIDFLOW_CLONE_PASSWORD"
"""Secrets that no build is given: with them the server fetches the source."""


class VaultError(RapidFlowError):
    """Secrets can't be read as things are."""


class Vault:
    """The secrets in the database, with the `keys` that open them."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    async def put(self, scope: int, name: str, value: str) -> bool:
        """Stores a secret; tells whether it is new. Raises `Invalid`, `SettingsError`, `OSError`."""
        check_name(name)
        check_value(value)
        cipher = _cipher(self._keys.ensure())
        return await secrets.put(scope, name, _sealed(cipher, scope, name, value))

    async def of_build(self, pipeline_id: int, names: Sequence[str]) -> dict[str, str]:
        """The values that a build has named. Raises `BuildError` for one that is not there."""
        if not names:
            return {}
        found = {secret.name: secret for secret in await secrets.of_build(pipeline_id, names)}
        for name in names:
            if name not in found:
                raise BuildError(
                    f"there is no secret {name}; an administrator can store it with "
                    f"'rapidflow secret set {name} --pipeline {pipeline_id}'"
                )
        try:
            return {name: self._open(secret) for name, secret in found.items()}
        except VaultError as error:
            raise BuildError(str(error)) from error

    async def clone_credentials(self, pipeline_id: int) -> tuple[str, str] | None:
        """User and password to fetch a pipeline's source with. Raises `BuildError`."""
        found = {
            secret.name: secret
            for secret in await secrets.of_build(pipeline_id, (CLONE_USER, CLONE_PASSWORD))
        }
        if CLONE_PASSWORD not in found:
            return None
        try:
            user = self._open(found[CLONE_USER]) if CLONE_USER in found else "git"
            return user, self._open(found[CLONE_PASSWORD])
        except VaultError as error:
            raise BuildError(str(error)) from error

    async def rotate(self) -> int:
        """Encrypts all secrets with a new key; returns how many. Raises `VaultError`, `SettingsError`.

        With a key file a new key is made. With keys from the environment the first of them is the new one. A
        rotation that is killed leaves every secret readable.
        """
        old = self._keys.read()
        if self._keys.given:
            keys = old
        else:
            keys = [new_key(), *old]
            self._keys.write(keys)
        every = await secrets.every()
        newest = _cipher(keys[:1])
        values: Mapping[int, str] = {
            secret.id: _sealed(newest, secret.scope, secret.name, _opened(_cipher(keys), secret))
            for secret in every
        }
        await secrets.replace(values)
        if not self._keys.given:
            self._keys.write(keys[:1])
        return len(every)

    def _open(self, secret: Secret) -> str:
        return _opened(_cipher(self._keys.read()), secret)


def check_name(name: str) -> None:
    """Raises `Invalid` for what can't be the name of a variable."""
    if not _NAME.fullmatch(name):
        raise Invalid([Problem("name", "name a secret like a variable: letters, digits and underscores")])


def check_value(value: str) -> None:
    """Raises `Invalid` for a value that can't be kept secret, or that no variable can have."""
    size = len(value.encode())
    if size < LEAST_BYTES:
        raise Invalid(
            [
                Problem(
                    "value",
                    f"a secret has at least {LEAST_BYTES} bytes; a shorter one can't be masked in logs, "
                    "because it stands in other words, too",
                )
            ]
        )
    if size > MOST_BYTES:
        raise Invalid([Problem("value", f"a secret has at most {MOST_BYTES} bytes; this one has {size}")])
    if "\0" in value:
        raise Invalid([Problem("value", "a secret has no NUL character, for no variable can have one")])


def _cipher(keys: Sequence[str]) -> MultiFernet:
    if not keys:
        raise VaultError("the key of the secrets is missing; put secrets.key back into the data folder")
    try:
        return MultiFernet([Fernet(key) for key in keys])
    except ValueError:
        raise VaultError(
            "RAPIDFLOW_SECRETS_KEY or secrets.key is no key; make one with 'rapidflow secret key'"
        ) from None


def _sealed(cipher: MultiFernet, scope: int, name: str, value: str) -> str:
    return cipher.encrypt(json.dumps([scope, name, value]).encode()).decode()


def _opened(cipher: MultiFernet, secret: Secret) -> str:
    try:
        scope, name, value = json.loads(cipher.decrypt(secret.value.encode()))
    except InvalidToken:
        raise VaultError(
            f"the secret {secret.name} was stored with another key; put that key back, or store it again"
        ) from None
    if (scope, name) != (secret.scope, secret.name):
        raise VaultError(f"what is stored as the secret {secret.name} belongs to another; store it again")
    return value
