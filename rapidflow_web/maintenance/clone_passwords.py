"""What an older version stored of passwords in clone URLs, brought to where passwords are now.

Looks at every start, because a backup of an older version may have been restored. Safe to be killed in.
"""

from __future__ import annotations

import logging

from rapidflow_web.db import pipelines, secrets
from rapidflow_web.db.database import rewrite
from rapidflow_web.errors import Invalid
from rapidflow_web.pipeline.clone_credentials import Login, login_in, taken_out, without_password
from rapidflow_web.pipeline.variables import CLONE_PASSWORD
from rapidflow_web.secrets.vault import Vault
from rapidflow_web.source.mirrors import Mirrors

_log = logging.getLogger(__name__)

_BY = "upgrade"


async def take_out_passwords(vault: Vault, mirrors: Mirrors) -> None:
    """Takes passwords out of stored pipelines, jobs and mirrors. Raises `VaultError`."""
    count = 0
    # The newest first: it has the password that is right now.
    for definition_id, config in await pipelines.definitions_with_passwords():
        try:
            public, url = taken_out(config)
        except Invalid:
            continue  # nothing that could ever be built
        if url is None:
            continue
        for pipeline_id in await pipelines.of_definition(definition_id):
            await _keep(vault, pipeline_id, url)
        await pipelines.rewrite_definition(definition_id, public, without_password(url))
        count += 1
    if count:
        await rewrite()
        _log.warning(
            "the passwords of clone URLs are stored encrypted now; copies of the database from before still "
            "show them, such as rapidflow.before-*.db in the data folder: remove these when all is well"
        )
    if await mirrors.with_passwords():
        await mirrors.take_out_passwords(await _owners(vault))


async def _keep(vault: Vault, pipeline_id: int, url: str) -> None:
    try:
        login = login_in(url)
    except ValueError:
        return  # git never took it
    if login is not None and await secrets.get(pipeline_id, CLONE_PASSWORD) is None:
        await vault.put_login(pipeline_id, login, _BY)


async def _owners(vault: Vault) -> dict[Login, list[int]]:
    owners: dict[Login, list[int]] = {}
    for pipeline_id in await secrets.scopes_of(CLONE_PASSWORD):
        if (login := await vault.login_of(pipeline_id)) is not None:
            owners.setdefault(login, []).append(pipeline_id)
    return owners
