"""Reads the definitions of jobs that people and programs start, each from the commit that it builds."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from tortoise.transactions import in_transaction

from rapidflow_web.builds import concurrency
from rapidflow_web.builds.beginning import check_variables, columns_of
from rapidflow_web.builds.definitions import stored
from rapidflow_web.builds.ending import Ending
from rapidflow_web.builds.facts import facts_of
from rapidflow_web.db import job_steps, jobs, outbox, pipelines, repositories
from rapidflow_web.db.database import is_away
from rapidflow_web.db.models import Job, Pipeline
from rapidflow_web.db.trigger_models import Repository
from rapidflow_web.errors import BuildError, Invalid, RapidFlowError
from rapidflow_web.pipeline.definition import judged
from rapidflow_web.pipeline.variables import HIDDEN
from rapidflow_web.progress import Far
from rapidflow_web.secrets.vault import Vault
from rapidflow_web.settings import Settings
from rapidflow_web.shielding import to_the_end
from rapidflow_web.source import history
from rapidflow_web.source.fetching import NoSuchCommit
from rapidflow_web.source.mirrors import Mirrors, Source
from rapidflow_web.source.uploads import UploadedTrees
from rapidflow_web.triggers import definitions
from rapidflow_web.triggers.access import account_of
from rapidflow_web.triggers.occurrence import HEADS, TAGS

_log = logging.getLogger(__name__)


class Reading:
    """Reads definitions; where that fails, the job has failed, with the sentence."""

    def __init__(
        self, settings: Settings, mirrors: Mirrors, uploads: UploadedTrees, vault: Vault, ending: Ending
    ) -> None:
        self._settings = settings
        self._mirrors = mirrors
        self._uploads = uploads
        self._vault = vault
        self._ending = ending
        self.fetches: dict[int, Far] = {}
        """How far the fetches are, by the jobs for which they are."""

    async def read(self, job_id: int) -> None:
        """Reads the definition of a job that waits for that. Safe to call again."""
        job = await jobs.get(job_id)
        if job is None or not job.unread:
            return
        try:
            await self._read(job)
        except RapidFlowError as error:
            await self._ending.failed_before_start(job_id, str(error))
        except Exception as error:
            if is_away(error):
                raise  # the database; it is tried again
            _log.exception("job %d: unexpected error", job_id)
            said = f"the build server failed: {type(error).__name__}: {error}"
            await self._ending.failed_before_start(job_id, said)

    async def _read(self, job: Job) -> None:
        pipeline = await pipelines.existing(job.pipeline_id, also_deleted=True)
        repository = await repositories.get(pipeline.repository_id or 0)
        if repository is None:
            raise BuildError("its repository was removed from this server")
        if job.upload_id is None:
            source, fields = await self._pushed(job, repository)
        else:
            source, fields = await self._uploaded(job, repository, job.upload_id)
        if await job_steps.of_job(job.id):
            await self._define_again(job, fields)
        else:
            await self._define(job, pipeline, repository, source, fields)

    async def _pushed(self, job: Job, repository: Repository) -> tuple[Source, dict[str, object]]:
        """The commit of a job that was fetched, and what the job has of it."""
        source = await self._fetched(repository, job)
        fork = job.pull_request is not None and bool(job.pull_request.get("fork"))
        untrusted = fork or not (
            source.is_head or await history.is_own(source.mirror, source.commit, job.branch)
        )
        commit = await history.commit_of(source.mirror, source.commit)
        return source, {
            "commit": commit.id,
            "title": commit.title,
            "author": commit.author,
            "untrusted": untrusted,
            "approval": self._approval(repository, untrusted),
        }

    async def _uploaded(
        self, job: Job, repository: Repository, upload_id: int
    ) -> tuple[Source, dict[str, object]]:
        """The same of a working tree. Who sent it decides whether it is trusted."""
        source = self._uploads.source(upload_id, repository.url, job.commit or "")
        commit = await history.commit_of(source.mirror, source.commit)
        return source, {"title": commit.title, "author": commit.author, "untrusted": job.untrusted}

    async def _define_again(self, job: Job, fields: Mapping[str, object]) -> None:
        """Lets a retry of what was read before begin."""
        group = job.concurrency_group
        if fields["untrusted"] and job.upload_id is None:
            # It had its turn in a group of trusted builds, which it may not share any more.
            group = concurrency.of_forks(group)
        definition = (await jobs.with_definition(job.id)).definition
        parsed = await stored(definition)

        async def store() -> None:
            async with in_transaction():
                if await jobs.define(job.id, None, {}, **fields, concurrency_group=group):
                    await concurrency.take_turn(parsed, group, job.id)
            outbox.wake()

        await to_the_end(store())

    async def _define(
        self,
        job: Job,
        pipeline: Pipeline,
        repository: Repository,
        source: Source,
        fields: Mapping[str, object],
    ) -> None:
        path = pipeline.path or ""
        file = await definitions.read_one(source.mirror, source.commit, path, self._settings)
        if file is None:
            what = "working tree" if job.upload_id is not None else f"commit {source.commit[:12]}"
            raise BuildError(f"the {what} has no file {path}")
        if file.parsed is None:
            raise BuildError(file.refusal)
        parsed, untrusted = file.parsed, bool(fields["untrusted"])
        given = {row.key: row.value for row in await jobs.environment_of(job.id)}
        variables = {**parsed.env, **given}
        if problems := check_variables(parsed, variables, pipeline.id):
            raise Invalid(problems)
        facts = await facts_of(job, parsed.name)
        secrets = () if untrusted else parsed.combined.secrets
        steps = judged(parsed, facts)  # which files have changed is not known, so this is fast
        uploaded_by = job.started_by if job.upload_id is not None else None
        group = concurrency.group_of(
            parsed, facts, repository.id, untrusted=untrusted, uploaded_by=uploaded_by
        )
        environment = variables | dict.fromkeys(secrets, HIDDEN)
        columns = {**fields, **columns_of(parsed), "concurrency_group": group}

        async def store() -> None:
            async with in_transaction():
                columns["definition_id"] = await pipelines.definition_for(pipeline.id, parsed.name, file.text)
                if await jobs.define(job.id, steps, environment, **columns):
                    await concurrency.take_turn(parsed, group, job.id)
            outbox.wake()

        await to_the_end(store())

    async def _fetched(self, repository: Repository, job: Job) -> Source:
        account = await account_of(self._vault, repository)

        def note(detail: str, done: float | None = None) -> None:
            self.fetches[job.id] = Far(detail, done)

        try:
            return await self._mirrors.fetch(
                repository.url,
                commit=job.commit,
                account=account,
                everything=True,
                reference=job.ref,
                progress=note,
                patient=True,
            )
        except NoSuchCommit as error:
            if job.commit is not None:
                raise BuildError(str(error)) from None
        finally:
            self.fetches.pop(job.id, None)
        what, name = ("tag", TAGS) if (job.ref or "").startswith(TAGS) else ("branch", HEADS)
        raise BuildError(f"the repository has no {what} '{(job.ref or '').removeprefix(name)}'")

    def _approval(self, repository: Repository, untrusted: bool) -> str | None:
        if not untrusted:
            return None
        if repository.forks == "never":
            raise BuildError(
                "no branch or tag of the repository has the commit, and the repository builds none of these"
            )
        return "waiting" if repository.forks == "approve" else None
