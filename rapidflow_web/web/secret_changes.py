"""Changes to secrets, by the rules that the API and the pages share."""

from __future__ import annotations

from rapidflow_web.db import secrets
from rapidflow_web.db.models import Secret
from rapidflow_web.db.secrets import EVERYWHERE
from rapidflow_web.errors import NotFound
from rapidflow_web.pipeline.variables import CLONE_PASSWORD
from rapidflow_web.web.services import services


async def put(scope: int, name: str, value: str, by: str) -> Secret:
    """Stores a secret of a pipeline, or with EVERYWHERE of all, or replaces it; `by` is who does.

    Raises `Invalid`, `VaultError`, and `NotFound` where somebody removed it at once.
    """
    if name == CLONE_PASSWORD and scope != EVERYWHERE:
        await services().builds.put_clone_password(scope, value, by=by)
    else:
        await services().vault.put(scope, name, value, by)
    stored = await secrets.get(scope, name)
    if stored is None:
        raise _missing(name)
    return stored


async def remove(scope: int, name: str) -> None:
    """Removes a secret. Raises `NotFound`."""
    if not await secrets.remove(scope, name):
        raise _missing(name)


def _missing(name: str) -> NotFound:
    return NotFound(f"there is no secret '{name[:40]}'")
