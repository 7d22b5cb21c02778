"""What people do with repositories: add, change, connect, remove."""

from __future__ import annotations

import asyncio
import secrets as randomness
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from tortoise.transactions import in_transaction

from rapidflow_web.builds.service import ShuttingDown
from rapidflow_web.db import repositories, secrets, statuses, visibility
from rapidflow_web.db.database import now_ms
from rapidflow_web.db.models import Pipeline
from rapidflow_web.db.trigger_models import Repository
from rapidflow_web.errors import BadRequest, BuildError, Conflict, Invalid, Problem
from rapidflow_web.forges import base as forges
from rapidflow_web.forges.base import ForgeError
from rapidflow_web.pipeline.clone_credentials import login_in, without_password
from rapidflow_web.pipeline.repositories import check_url
from rapidflow_web.secrets.vault import FORGE_TOKEN, HOOK_SECRET, OLD_HOOK_SECRET, Vault
from rapidflow_web.settings import Settings
from rapidflow_web.shielding import EndedEarly, unless
from rapidflow_web.source.mirrors import Account, Mirrors
from rapidflow_web.triggers import definitions, sync
from rapidflow_web.triggers.definitions import DefinitionFile

T = TypeVar("T")

POLL_SECONDS = 300
"""How often a repository is looked at unless somebody says otherwise."""
LEAST_POLL = 10
FORKS = ("approve", "run", "never")
_DAY = 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class Added:
    """A repository that was added, with the secret of its webhook, which is shown now and never again."""

    repository: Repository
    hook_secret: str
    pipelines: list[Pipeline]


class Repositories:
    """Changes repositories. `look` has one looked at now."""

    def __init__(
        self,
        settings: Settings,
        mirrors: Mirrors,
        vault: Vault,
        look: Callable[[Repository], Awaitable[None]],
    ) -> None:
        self._settings = settings
        self._mirrors = mirrors
        self._vault = vault
        self._look = look
        self.server_ends = asyncio.Event()
        """Set when the server ends: nobody is to wait for git any more."""

    async def add(self, url: str, forge: str | None, token: str | None, by: str) -> Added:
        """Reads the default branch and makes a pipeline of each definition file. Builds nothing.

        Raises `Invalid`, `Conflict` where it is there already, `VaultError`.
        """
        try:
            check_url(url, self._settings.file_roots)
            login = login_in(url)
        except ValueError as error:
            raise Invalid([Problem("url", str(error).replace("'repo_name'", "the URL"))]) from None
        public = without_password(url).rstrip("/")
        forge = _checked_forge(forge) if forge is not None else forges.guess(public)
        if token is not None:
            _checked_token(token)
        await self._refuse_twice(public)
        await self._vault.check_key()
        repository = await repositories.begin(public, forge, randomness.token_urlsafe(24))
        scope = self._vault.scope_of_repository(repository.id)
        try:
            refs, branch, files = await self.waited_for(self._look_at(public, Account(scope, login)))
        except BuildError as error:
            raise Invalid([Problem("url", str(error))]) from None
        hook_secret = forges.new_secret()
        await self._vault.put_of_repository(repository.id, HOOK_SECRET, hook_secret, by)
        if login is not None:
            await self._vault.put_login(scope, login, by)
        if token is not None:
            await self._vault.put_of_repository(repository.id, FORGE_TOKEN, token, by)
        async with in_transaction():
            await self._refuse_twice(public)
            await repositories.settle(
                repository.id, refs, default_branch=branch, poll=POLL_SECONDS,
                polled_at=now_ms(), next_poll_at=now_ms() + POLL_SECONDS * 1000,
            )  # fmt: skip
            await sync.apply(repository, files, whole=True)
        found = await repositories.existing(repository.id)
        return Added(found, hook_secret, await repositories.pipelines_of(repository.id))

    async def _look_at(self, url: str, account: Account) -> tuple[dict[str, str], str, list[DefinitionFile]]:
        """The refs of a repository, its default branch and the definitions there. Raises `BuildError`."""
        seen = await self._mirrors.refs(url, account)
        if seen.default_branch is None or f"refs/heads/{seen.default_branch}" not in seen.values:
            said = "has no branch yet; push a commit first" if not seen.values else "has no default branch"
            raise BuildError(f"the repository {said}")
        source = await self._mirrors.fetch(url, seen.default_branch, account=account)
        files = await definitions.read(source.mirror, source.commit, self._settings)
        # What the branch was when its files were read; what came in between is an event.
        values = seen.values | {f"refs/heads/{seen.default_branch}": source.commit}
        return values, seen.default_branch, files

    async def _refuse_twice(self, url: str) -> None:
        if (there := await repositories.with_url(url)) is not None:
            raise Conflict(f"the URL {url} is there already, as repository {there.id}")

    async def change(self, repository_id: int, by: str, **wanted: Any) -> Repository:
        """Changes `poll` (seconds, or None for never), `forge`, `token`, `forks` or `secrets`.

        Raises `NotFound`, `Invalid`, `VaultError`.
        """
        repository = await repositories.existing(repository_id)
        token = _checked_token(wanted.pop("token")) if "token" in wanted else None
        if "forge" in wanted:
            _checked_forge(wanted["forge"])
        if "forks" in wanted and wanted["forks"] not in FORKS:
            raise Invalid([Problem("forks", f"use one of {', '.join(FORKS)}")])
        if "poll" in wanted:
            poll = wanted["poll"]
            if poll is not None and poll < LEAST_POLL:
                raise Invalid([Problem("poll", f"use at least {LEAST_POLL}s, or off")])
            wanted["next_poll_at"] = None if poll is None else now_ms() + poll * 1000
        if wanted:
            await repositories.update(repository.id, **wanted)
        if token is not None:
            await self._vault.put_of_repository(repository_id, FORGE_TOKEN, token, by)
            await statuses.retry_now(repository_id)
        return await repositories.existing(repository_id)

    async def remove(self, repository_id: int) -> str | None:
        """Hides a repository and its pipelines. Returns a sentence where its webhook could not be removed.

        Raises `NotFound`.
        """
        repository = await repositories.existing(repository_id)
        left: str | None = None
        if repository.hook_id is not None:
            try:
                api = await self._api(repository)
                if api is not None:
                    await api.disconnect(repository.hook_id)
            except (ForgeError, BadRequest) as error:
                left = f"its webhook could not be removed: {error}"
        await repositories.delete(repository_id)
        # The login stays, with which builds that have begun fetch their submodules.
        for name in (HOOK_SECRET, OLD_HOOK_SECRET, FORGE_TOKEN):
            await secrets.remove(self._vault.scope_of_repository(repository_id), name)
        return left

    async def new_secret(self, repository: Repository, by: str) -> str:
        """A new secret for the webhook; the old one is accepted for 24 h, or until the next is made.

        Raises `Conflict` where another was made since `repository` was read, `VaultError`.
        """
        old = await self._vault.of_repository(repository.id, HOOK_SECRET)
        # Of several requests at once only one goes on: the others would end the secret that it shows.
        if not await repositories.renew_secret(repository, now_ms() + _DAY):
            raise Conflict(
                "no secret was made: another one was made meanwhile. Only that one and the one before it "
                "count, so one more would end the secret that the forge may still use"
            )
        if old is not None:
            await self._vault.put_of_repository(repository.id, OLD_HOOK_SECRET, old, by)
        secret = forges.new_secret()
        await self._vault.put_of_repository(repository.id, HOOK_SECRET, secret, by)
        return secret

    async def connect(self, repository_id: int, hook_url: str) -> str:
        """Makes the webhook at the forge. Returns what was done, in a sentence.

        Raises `NotFound`, `BadRequest` with what the forge said, `VaultError`.
        """
        repository = await repositories.existing(repository_id)
        api = await self._api(repository)
        if api is None:
            raise BadRequest(
                f"a repository of the forge '{repository.forge}' has no API; have its post-receive hook send "
                f"what it reads to /repositories/{repository_id}/refs, or leave it to polls"
            )
        secret = await self._vault.of_repository(repository_id, HOOK_SECRET) or ""
        try:
            hook_id = await api.connect(hook_url, secret)
        except ForgeError as error:
            raise BadRequest(str(error)) from None
        await repositories.update(repository_id, hook_id=hook_id)
        return f"{repository.forge} sends pushes, tags and pull requests to {hook_url} now"

    async def _api(self, repository: Repository) -> forges.Api | None:
        """The API of the forge. Raises `BadRequest` where there is no token for it."""
        token = await self._vault.of_repository(repository.id, FORGE_TOKEN)
        if forges.api_for(repository.forge, repository.url, token or "") is None:
            return None
        if token is None:
            raise BadRequest(
                "there is no token for the forge; store one that may make webhooks and commit statuses with "
                f"'rapidflow connect {repository.url} --token …'"
            )
        return forges.api_for(repository.forge, repository.url, token)

    async def poll(self, repository_id: int) -> Repository:
        """Looks at the refs now. Raises `NotFound`, and `BadRequest` where it can't be reached."""
        repository = await repositories.existing(repository_id)
        try:
            # What it means for pipelines that who asks may not see is judged, too.
            await self.waited_for(self._look_for_all(repository))
        except BuildError as error:
            raise BadRequest(str(error)) from None
        return await repositories.existing(repository_id)

    async def _look_for_all(self, repository: Repository) -> None:
        visibility.set_current(visibility.UNRESTRICTED)  # in the task that `unless` makes for this
        await self._look(repository)

    async def waited_for(self, work: Coroutine[Any, Any, T]) -> T:
        """What git finds out. Raises `ShuttingDown` where the server ends first."""
        try:
            return await unless(self.server_ends, work)
        except EndedEarly:
            raise ShuttingDown("the server is ending; try again when it has started again") from None

    async def secrets_of(self, repository: Repository) -> list[str]:
        """The secrets that its webhook may be signed with."""
        names = [HOOK_SECRET]
        if (repository.old_secret_until or 0) > now_ms():
            names.append(OLD_HOOK_SECRET)
        found = [await self._vault.of_repository(repository.id, name) for name in names]
        return [secret for secret in found if secret]


def _checked_forge(forge: str) -> str:
    if forge not in forges.NAMES:
        raise Invalid(
            [Problem("forge", f"unknown forge '{forge[:40]}'; use one of {', '.join(forges.NAMES)}")]
        )
    return forge


def _checked_token(token: str) -> str:
    if not token.isascii() or not token.isprintable() or not 1 <= len(token) <= 1000 or " " in token:
        raise Invalid([Problem("token", "a token is one word of at most 1000 characters")])
    return token
