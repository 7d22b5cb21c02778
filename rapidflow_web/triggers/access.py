"""On whose behalf a repository is fetched, and with what its forge is asked."""

from __future__ import annotations

from rapidflow_web.db import secrets
from rapidflow_web.db.trigger_models import Repository
from rapidflow_web.secrets.vault import FORGE_TOKEN, Vault
from rapidflow_web.source.mirrors import Account


async def account_of(vault: Vault, repository: Repository) -> Account:
    """The account by which the server fetches a repository. Raises `VaultError`."""
    scope = vault.scope_of_repository(repository.id)
    return Account(scope, await vault.login_of(scope))


async def can_tell(repository: Repository) -> bool:
    """Whether its forge shows commit statuses, and there is a token to make them."""
    scope = Vault.scope_of_repository(repository.id)
    return repository.forge != "git" and await secrets.get(scope, FORGE_TOKEN) is not None
