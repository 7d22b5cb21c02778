"""Changes to secrets, by the rules that the API and the pages share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from rapidflow_web.db import secrets
from rapidflow_web.db.models import Secret
from rapidflow_web.db.secrets import EVERYWHERE
from rapidflow_web.errors import NotFound
from rapidflow_web.pipeline.variables import CLONE_PASSWORD
from rapidflow_web.secrets.vault import Vault

PutClonePassword = Callable[[int, str, str], Awaitable[None]]
"""Stores the password for the clone URL of a pipeline: its id, the value, who stores it."""


class SecretChanges:
    """Stores and removes secrets."""

    def __init__(self, vault: Vault, put_clone_password: PutClonePassword) -> None:
        self._vault = vault
        self._put_clone_password = put_clone_password

    async def put(self, scope: int, name: str, value: str, by: str) -> Secret:
        """Stores a secret of a pipeline, or with EVERYWHERE of all, or replaces it; `by` is who does.

        Raises `Invalid`, `VaultError`, and `NotFound` where somebody removed it at once.
        """
        if name == CLONE_PASSWORD and scope != EVERYWHERE:
            await self._put_clone_password(scope, value, by)
        else:
            await self._vault.put(scope, name, value, by)
        stored = await secrets.get(scope, name)
        if stored is None:
            raise _missing(name)
        return stored

    async def remove(self, scope: int, name: str) -> None:
        """Removes a secret. Raises `NotFound`."""
        if not await secrets.remove(scope, name):
            raise _missing(name)


def _missing(name: str) -> NotFound:
    return NotFound(f"there is no secret '{name[:40]}'")
