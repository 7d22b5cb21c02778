"""What an occurrence means for each pipeline: a build, or a sentence that says why there is none.

`Judge.judge` reads git and the database and changes neither; `decisions.store` makes it so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rapidflow_web.db import events, pipelines, repositories
from rapidflow_web.db.models import Pipeline
from rapidflow_web.db.trigger_models import Repository
from rapidflow_web.errors import Invalid
from rapidflow_web.pipeline import parser
from rapidflow_web.pipeline.definition import ParsedPipeline, StepDefinition, judged
from rapidflow_web.pipeline.repositories import COMMIT_ID
from rapidflow_web.pipeline.triggers import Facts, skip_word
from rapidflow_web.secrets.vault import Vault
from rapidflow_web.settings import Settings
from rapidflow_web.source import history
from rapidflow_web.source.fetching import NoSuchCommit, NotACommit
from rapidflow_web.source.history import Commit
from rapidflow_web.source.mirrors import Mirrors, Source
from rapidflow_web.triggers import definitions
from rapidflow_web.triggers.access import account_of
from rapidflow_web.triggers.definitions import DefinitionFile, problem_of
from rapidflow_web.triggers.occurrence import HEADS, Occurrence

_BUILT_ONCE = ("push", "pull_request")
_NO_FORKS = "Bitbucket has no refs of pull requests, so a fork's can't be fetched"


@dataclass(frozen=True, slots=True)
class Build:
    """A build that is to begin, with its `steps` as they were judged by their `when`.

    `base` is the commit against which changed files are counted.
    """

    file: DefinitionFile
    parsed: ParsedPipeline
    steps: tuple[StepDefinition, ...]
    facts: Facts
    base: str | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an occurrence means for one pipeline, which is new where it has no id.

    `outcome` and `reason` are those of `Decision`; `job_id` is a build that there is already. A pipeline that
    was `left_out` by its paths is a success to whoever waits for its status.
    """

    pipeline_id: int | None
    file: DefinitionFile | None
    outcome: str
    reason: str
    build: Build | None = None
    job_id: int | None = None
    left_out: bool = False


@dataclass(frozen=True, slots=True)
class Judgement:
    """An occurrence with all that was found out about it. `files` is None where none could be read."""

    occurrence: Occurrence
    verdicts: tuple[Verdict, ...]
    commit: Commit | None = None
    untrusted: bool = False
    files: tuple[DefinitionFile, ...] | None = None
    is_newer: bool = True
    """Whether the ref is to have this value from now on; not where it has a later one already."""
    is_no_commit: bool = False
    """Whether the ref has a value that is no commit. It is remembered, or each poll would tell of it."""


@dataclass(frozen=True, slots=True)
class _Case:
    """What is the same for all pipelines."""

    repository: Repository
    occurrence: Occurrence
    mirror: Path
    commit: Commit
    untrusted: bool
    skipped: str | None
    files: tuple[DefinitionFile, ...]
    changed: dict[str, tuple[str, ...] | None] = field(default_factory=dict[str, "tuple[str, ...] | None"])
    """The changed files by the commit that they are counted from, as far as they were looked up."""
    ancestors: dict[str, bool] = field(default_factory=dict[str, bool])
    """Whether commits are ancestors of this one, as far as git was asked: pipelines ask for the same."""
    merge_bases: dict[str, str | None] = field(default_factory=dict[str, "str | None"])
    """The newest common ancestors with branches, by the names of these."""

    async def has_ancestor(self, commit: str) -> bool:
        """Whether a commit is an ancestor of this one, or it."""
        if commit not in self.ancestors:
            self.ancestors[commit] = await history.is_ancestor(self.mirror, commit, self.commit.id)
        return self.ancestors[commit]

    async def merge_base(self, branch: str) -> str | None:
        """The newest common ancestor with a branch; None where there is none."""
        if branch not in self.merge_bases:
            head = await history.head_of(self.mirror, branch)
            base = None if head is None else await history.merge_base(self.mirror, head, self.commit.id)
            self.merge_bases[branch] = base
        return self.merge_bases[branch]

    async def changed_since(self, base: str) -> tuple[str, ...] | None:
        """The files that differ from a commit; None where that can't be known."""
        if base not in self.changed:
            self.changed[base] = await history.changed(self.mirror, base, self.commit.id)
        return self.changed[base]


class Judge:
    """Judges occurrences at repositories."""

    def __init__(self, settings: Settings, mirrors: Mirrors, vault: Vault) -> None:
        self._settings = settings
        self._mirrors = mirrors
        self._vault = vault

    async def judge(self, repository: Repository, occurrence: Occurrence) -> Judgement:
        """Judges what happened. Raises `BuildError` where the repository can't be reached."""
        if occurrence.kind == "delete":
            return Judgement(occurrence, ())
        stored = await self._pipelines(repository, occurrence)
        if repository.forge == "bitbucket" and occurrence.from_fork:
            return _without_commit(occurrence, stored, "ignored", _NO_FORKS)
        try:
            source = await self._fetched(repository, occurrence)
        except NotACommit as error:
            return replace(_without_commit(occurrence, stored, "ignored", str(error)), is_no_commit=True)
        except NoSuchCommit as error:
            return _without_commit(occurrence, stored, "failed", str(error))
        mirror, commit = source.mirror, await history.commit_of(source.mirror, source.commit)
        untrusted = occurrence.from_fork or not (
            source.is_head or await history.is_own(mirror, commit.id, occurrence.branch)
        )
        files = tuple(await definitions.read(mirror, commit.id, self._settings))
        skipped = _skipped(occurrence, commit)
        case = _Case(repository, occurrence, mirror, commit, untrusted, skipped, files)
        # Who wrote the texts may have made them slow to read.
        pairs = await asyncio.to_thread(_matched, case, stored)
        verdicts = [await self._verdict(case, *pair) for pair in pairs]
        is_newer = source.is_head or await self._is_newer(case)
        return Judgement(occurrence, tuple(verdicts), commit, untrusted, files, is_newer)

    async def definitions_of(self, repository: Repository, branch: str) -> list[DefinitionFile]:
        """The definition files at the head of a branch. Raises `BuildError`."""
        account = await account_of(self._vault, repository)
        source = await self._mirrors.fetch(repository.url, branch, account=account)
        return await definitions.read(source.mirror, source.commit, self._settings)

    async def _pipelines(self, repository: Repository, occurrence: Occurrence) -> list[Pipeline]:
        found = await repositories.pipelines_of(repository.id) + await pipelines.stored_for(repository.url)
        return [one for one in found if occurrence.only is None or one.id in occurrence.only]

    async def _fetched(self, repository: Repository, occurrence: Occurrence) -> Source:
        account = await account_of(self._vault, repository)
        after, request = occurrence.after, occurrence.pull_request
        reference = occurrence.ref
        if after is None or not COMMIT_ID.fullmatch(after):
            # Some deliveries shorten the commit, or have none: the ref says the same.
            after, reference = None, reference if request is None else f"{HEADS}{request.source}"
        return await self._mirrors.fetch(
            repository.url, commit=after, account=account, everything=True, reference=reference
        )

    async def _is_newer(self, case: _Case) -> bool:
        branch = case.occurrence.branch
        if branch is None or await history.head_of(case.mirror, branch) == case.commit.id:
            return True
        # Deliveries overtake each other.
        last = await repositories.value_of(case.repository.id, case.occurrence.ref)
        return last is None or not await history.is_ancestor(case.mirror, case.commit.id, last)

    async def _verdict(self, case: _Case, pipeline: Pipeline | None, file: DefinitionFile | None) -> Verdict:
        pipeline_id = pipeline.id if pipeline is not None else None
        if file is None:
            path = pipeline.path if pipeline is not None else ""
            return Verdict(pipeline_id, None, "ignored", f"the commit has no file {path}")
        if file.parsed is None:
            return Verdict(pipeline_id, file, "failed", file.refusal)
        parsed, occurrence = file.parsed, case.occurrence
        if parsed.on is None:
            return Verdict(
                pipeline_id, file, "ignored", "it has no 'on', so only people and programs start it"
            )
        base = await self._base(case, pipeline_id)
        facts = await self._facts(case, parsed, base)
        # Who wrote patterns and files may have made them slow to compare.
        refusal = await asyncio.to_thread(parsed.on.refusal, facts)
        if occurrence.kind != "schedule" and refusal is not None:
            left_out = parsed.on.refusal(_without_paths(facts)) is None
            return Verdict(pipeline_id, file, "ignored", refusal, left_out=left_out)
        if case.skipped is not None:
            return Verdict(pipeline_id, file, "ignored", f"the commit's message has '{case.skipped}'")
        steps = await asyncio.to_thread(judged, parsed, facts)
        build = Build(file, parsed, steps, facts, base)
        if case.untrusted:
            return _of_fork(case, pipeline_id, build)
        if pipeline_id is not None and (job_id := await self._built_already(case, pipeline_id, build)):
            reason = f"job {job_id} builds the same commit with the same definition"
            return Verdict(pipeline_id, file, "built", reason, job_id=job_id)
        return Verdict(pipeline_id, file, "built", f"{occurrence.words} fits 'on'", build)

    async def _base(self, case: _Case, pipeline_id: int | None) -> str | None:
        """The commit against which the changed files of a push or pull request are counted."""
        occurrence, commit = case.occurrence, case.commit.id
        if occurrence.pull_request is not None:
            return await case.merge_base(occurrence.pull_request.target)
        if occurrence.kind != "push":
            return None
        built = await events.successes(pipeline_id, occurrence.ref) if pipeline_id is not None else []
        for ancestor in [*built, *([occurrence.before] if occurrence.before else [])]:
            if ancestor != commit and await case.has_ancestor(ancestor):
                return ancestor
        base = await case.merge_base(case.repository.default_branch)
        return base if base != commit else None

    async def _facts(self, case: _Case, parsed: ParsedPipeline, base: str | None) -> Facts:
        paths = await case.changed_since(base) if base is not None and parsed.reads_paths else None
        return case.occurrence.facts(parsed.name, paths)

    async def _built_already(self, case: _Case, pipeline_id: int, build: Build) -> int | None:
        """The build of the same commit and definition that another kind of event started."""
        if case.occurrence.kind not in _BUILT_ONCE or case.occurrence.replay or build.parsed.reads_event:
            return None
        for job in await events.builds_of(pipeline_id, case.commit.id, _BUILT_ONCE):
            same = job.definition.config == build.file.text and not job.untrusted
            if same and job.event != case.occurrence.kind and job.status != "cancelled":
                return job.id
        return None


def _matched(case: _Case, stored: Sequence[Pipeline]) -> list[tuple[Pipeline | None, DefinitionFile | None]]:
    """Each pipeline with its definition at the commit; new pipelines only where the commit is trusted."""
    of_files, left = definitions.matched([one for one in stored if one.path is not None], case.files)
    found: list[tuple[Pipeline | None, DefinitionFile | None]] = [*of_files]
    for pipeline in stored:
        if pipeline.path is None:
            file = _of_stored(pipeline)
            if file.parsed is None or (file.parsed.repo_name or "").rstrip("/") == case.repository.url:
                found.append((pipeline, file))
    if not case.untrusted and case.occurrence.kind == "push":
        found += [(None, file) for file in left if file.parsed is not None]
    return found


def _of_stored(pipeline: Pipeline) -> DefinitionFile:
    """The definition of a pipeline whose text is stored on the server."""
    text, name = pipeline.definition.config, pipeline.definition.name
    try:
        return DefinitionFile("", text, parser.parse_stored(text, name))
    except Invalid as error:
        return DefinitionFile("", text, problem=problem_of(error))


def _without_commit(
    occurrence: Occurrence, stored: Sequence[Pipeline], outcome: str, reason: str
) -> Judgement:
    """What it means that there is no commit to build."""
    return Judgement(occurrence, tuple(Verdict(pipeline.id, None, outcome, reason) for pipeline in stored))


def _skipped(occurrence: Occurrence, commit: Commit) -> str | None:
    return skip_word(commit.message) if occurrence.kind in _BUILT_ONCE else None


def _of_fork(case: _Case, pipeline_id: int | None, build: Build) -> Verdict:
    """What a commit gets that no branch or tag of the repository has."""
    fork = case.occurrence.from_fork
    whose = "it comes from a fork" if fork else "no branch or tag of the repository has the commit"
    if case.repository.forks == "never":
        reason = f"{whose}, and the repository builds none of these"
        return Verdict(pipeline_id, build.file, "ignored", reason)
    if case.repository.forks == "run":
        return Verdict(pipeline_id, build.file, "built", f"{whose}; it gets no secrets", build)
    return Verdict(pipeline_id, build.file, "waiting", f"{whose}, so it waits for an approval", build)


def _without_paths(facts: Facts) -> Facts:
    return replace(facts, paths=None)
