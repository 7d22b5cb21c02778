"""Stores and reads secrets, and what running builds are to mask, encrypted.

Keys are read anew each time, so that a rotation beside a running server is noticed at once.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence

from rapidflow_web.db import secrets
from rapidflow_web.db.models import Mask, Secret
from rapidflow_web.errors import BuildError, Invalid, Problem
from rapidflow_web.logs.masking.forms import LEAST_BYTES
from rapidflow_web.pipeline.clone_credentials import Login
from rapidflow_web.pipeline.variables import CLONE_PASSWORD, check_secret_name
from rapidflow_web.secrets.keys import MASK, Keys, VaultError, new_key

MOST_BYTES = 64 * 1024
_MOST_NAMED = 20
# No names that a secret of a pipeline can have.
HOOK_SECRET, OLD_HOOK_SECRET, FORGE_TOKEN = "hook secret", "hook secret before", "token of the forge"


class Vault:
    """The secrets in the database, with the `keys` that open them."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    # Secrets

    async def put(self, scope: int, name: str, value: str, by: str) -> None:
        """Stores a secret, or replaces it; `by` is who does. Raises `Invalid`, `VaultError`."""
        check(name, value)
        await self._store([scope, name], value, lambda sealed, _: secrets.put(scope, name, sealed, by))

    async def of_build(
        self, pipeline_id: int, names: Sequence[str], granted: Collection[str] | None = None
    ) -> dict[str, str]:
        """The values that a build has named, of the secrets of all pipelines those that are `granted`.

        Raises `BuildError` that names all that are not there, `VaultError` for one that can't be read.
        """
        if not names:
            return {}
        every = await secrets.of_build(pipeline_id, names)
        found = {secret.name: secret for secret in every}
        shared = {secret.name for secret in every if secret.scope == secrets.EVERYWHERE}
        kept = sorted(shared.difference(granted)) if granted is not None else []
        missing = [name for name in names if name not in found]
        if problems := [*_not_granted(kept), *_not_there(missing, pipeline_id)]:
            raise BuildError("; ".join(problems))
        return {name: self._open(found[name]) for name in names}

    async def put_login(self, pipeline_id: int, login: Login, by: str) -> None:
        """Stores with what the source of a pipeline is fetched, or replaces it. Raises `VaultError`."""
        value = json.dumps([login.origin, login.user, login.password])
        await self._store(
            [pipeline_id, CLONE_PASSWORD],
            value,
            lambda sealed, _: secrets.put(pipeline_id, CLONE_PASSWORD, sealed, by),
        )

    async def login_of(self, pipeline_id: int) -> Login | None:
        """With what the source of a pipeline is fetched. Raises `VaultError`."""
        secret = await secrets.get(pipeline_id, CLONE_PASSWORD)
        return None if secret is None else Login(*json.loads(self._open(secret)))

    # Repositories

    @staticmethod
    def scope_of_repository(repository_id: int) -> int:
        """The scope of what is kept for a repository; those of pipelines are positive."""
        return -repository_id

    async def put_of_repository(self, repository_id: int, name: str, value: str, by: str) -> None:
        """Stores what is kept for a repository under one of the names below, or replaces it.

        Raises `VaultError`.
        """
        scope = self.scope_of_repository(repository_id)
        await self._store([scope, name], value, lambda sealed, _: secrets.put(scope, name, sealed, by))

    async def of_repository(self, repository_id: int, name: str) -> str | None:
        """What is kept for a repository. Raises `VaultError`."""
        secret = await secrets.get(self.scope_of_repository(repository_id), name)
        return None if secret is None else self._open(secret)

    async def check_key(self) -> None:
        """Raises `VaultError` where nothing could be stored."""
        _cipher().of(await self._keys_to_store())

    async def _keys_to_store(self) -> list[str]:
        """The keys. The first is only made where no secret is stored, or those could never be read again."""
        keys = self._keys.read()
        return keys if keys or await secrets.count() else self._keys.ensure()

    # What a build masks

    async def add_masks(self, job_id: int, values: Iterable[str]) -> None:
        """Notes what is not to be read in the output of a build, until it ends. Raises `VaultError`."""
        for value in values:
            await self._store(
                [MASK, job_id], value, lambda sealed, before: secrets.add_mask(job_id, sealed, before)
            )

    async def masks_of(self, job_id: int) -> list[str]:
        """What `add_masks` noted for a build, each once, in that order. Raises `VaultError`."""
        return list(dict.fromkeys([self._open(mask) for mask in await secrets.masks_of(job_id)]))

    async def forget_masks(self, job_id: int) -> None:
        """The build has ended, and prints nothing any more. Safe to call again."""
        await secrets.remove_masks(job_id)

    # Keys

    async def rotate(self) -> int:
        """Encrypts everything with a new key; returns the number of secrets. Raises `VaultError`.

        With a key file a new key is made. With keys from the environment the first of them is the new one. A
        rotation that is killed leaves everything readable; so does one beside a server that stores secrets.
        """
        old = self._keys.read()
        every = await secrets.every()
        if old:
            _cipher().of(old)
        for row in every:
            _cipher().opened(old, row)
        if self._keys.given:
            keys = old
        else:
            keys = [new_key(), *old]
            self._keys.write(keys)
        while behind := [row for row in await secrets.every() if not _cipher().opens(keys[:1], row)]:
            for row in behind:
                _cipher().opened(keys, row)
                await secrets.replace(row, _cipher().rotated(keys, row))
        if not self._keys.given:
            self._keys.write(keys[:1])
        return sum(isinstance(row, Secret) for row in every)

    async def problem(self) -> str | None:
        """Why secrets can't be read, in a sentence; None while all is well."""
        try:
            keys = self._keys.read()
            for row in await secrets.every():
                _cipher().opened(keys, row)
        except VaultError as error:
            return str(error)
        return None

    async def _store(
        self, about: list[object], value: str, store: Callable[[str, str | None], Awaitable[object]]
    ) -> None:
        """Has `store` store the value encrypted, in the place of what it stored before, if it did."""
        keys, before = await self._keys_to_store(), None
        while True:
            sealed = _cipher().sealed(keys, about, value)
            await store(sealed, before)
            # A rotation meanwhile may have looked before, and let the key go that this was stored with.
            now = self._keys.read() or keys
            if now[0] == keys[0]:
                return
            keys, before = now, sealed

    def _open(self, row: Secret | Mask) -> str:
        return _cipher().opened(self._keys.read(), row)


class _BadValue(ValueError):
    pass


def check(name: str, value: str) -> None:
    """Raises `Invalid` for a secret that can't be stored."""
    try:
        check_secret_name(name)
        check_value(value)
    except ValueError as error:
        raise Invalid([Problem("value" if isinstance(error, _BadValue) else "name", str(error))]) from None


def check_value(value: str) -> None:
    """Raises ValueError for a value that can't be kept secret, or that no variable can have."""
    size = len(value.encode())
    # White space around it is not masked with it.
    if len(value.strip().encode()) < LEAST_BYTES:
        raise _BadValue(
            f"a secret has at least {LEAST_BYTES} bytes; a shorter one can't be masked in logs, "
            "because it occurs in ordinary words"
        )
    if size > MOST_BYTES:
        raise _BadValue(f"a secret has at most {MOST_BYTES} bytes; this one has {size}")
    if "\0" in value:
        raise _BadValue("a secret has no NUL character, for no variable can have one")


def _not_granted(names: Sequence[str]) -> Iterator[str]:
    if names:
        words = ("secret {} is", "it") if len(names) == 1 else ("secrets {} are", "them")
        yield (
            f"the shared {words[0].format(_listed(names))} not granted to this repository; an "
            f"administrator can grant {words[1]} on the page of the repository"
        )


def _not_there(names: Sequence[str], pipeline_id: int) -> Iterator[str]:
    if len(names) == 1:
        yield (
            f"there is no secret {names[0]}; an administrator can store it with "
            f"'rapidflow secret set {names[0]} --pipeline {pipeline_id}'"
        )
    elif names:
        yield (
            f"{len(names)} secrets are missing: {_listed(names)}; an administrator can store them on the "
            "page of the build or the pipeline, or each with "
            f"'rapidflow secret set NAME --pipeline {pipeline_id}'"
        )


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _cipher():
    # Only where something is secret: it takes 9 MB.
    from rapidflow_web.secrets import cipher

    return cipher
