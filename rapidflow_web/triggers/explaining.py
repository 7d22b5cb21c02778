"""Why a ref or commit was built by a pipeline, or not: from what is stored, else by judging it now."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rapidflow_web.db import events, pipelines, repositories
from rapidflow_web.db.trigger_models import Decision
from rapidflow_web.errors import BadRequest, BuildError
from rapidflow_web.secrets.vault import Vault
from rapidflow_web.source.mirrors import Mirrors
from rapidflow_web.triggers.access import account_of
from rapidflow_web.triggers.judging import Judge
from rapidflow_web.triggers.occurrence import HEADS, TAGS, Occurrence

_COMMIT = re.compile(r"[0-9a-f]{4,64}")


@dataclass(frozen=True, slots=True)
class Explanation:
    """One sentence on why. `at` is in ms, None for what did not happen and was judged now."""

    ref: str | None
    commit: str | None
    at: int | None
    stored: bool
    outcome: str
    reason: str
    job_id: int | None


def _meant(ref: str | None) -> list[str]:
    """The whole names that a name may stand for: a branch goes before a tag."""
    if ref is None or ref.startswith("refs/"):
        return [] if ref is None else [ref]
    return [f"{HEADS}{ref}", f"{TAGS}{ref}"]


class Explaining:
    """Explains."""

    def __init__(self, judge: Judge, mirrors: Mirrors, vault: Vault) -> None:
        self._judge = judge
        self._mirrors = mirrors
        self._vault = vault

    async def explain(self, pipeline_id: int, ref: str | None, commit: str | None) -> list[Explanation]:
        """Why a ref or commit was built or not, newest first. Raises `NotFound`, `BadRequest`."""
        if (ref is None) == (commit is None):
            raise BadRequest("say what to explain: either ref or commit")
        if commit is not None and not _COMMIT.fullmatch(commit):
            raise BadRequest("a commit is written as at least 4 digits of its hash, such as 1a2b3c4")
        pipeline = await pipelines.existing(pipeline_id)
        meant = _meant(ref)
        decisions: list[Decision] = []
        for full in meant or (None,):
            decisions = decisions or await events.decided(pipeline_id, ref=full, commit=commit)
        if decisions:
            return [
                Explanation(
                    one.event.ref, one.event.after, one.event.at, True, one.outcome, one.reason, one.job_id
                )
                for one in decisions
            ]
        repository = await repositories.get(pipeline.repository_id) if pipeline.repository_id else None
        if repository is None:
            raise BadRequest("no event is stored for it, and the pipeline does not belong to a repository")
        try:
            account = await account_of(self._vault, repository)
            seen = await self._mirrors.refs(repository.url, account)
            if commit is not None:
                meant = [name for name, value in seen.values.items() if value.startswith(commit)]
            full = next((name for name in meant if name in seen.values), "")
            after = seen.values.get(full)
            if after is None:
                what = (
                    f"ref '{ref}'"
                    if ref is not None
                    else f"branch or tag whose head is {commit}; only heads of pushes are judged"
                )
                raise BadRequest(f"the repository has no {what}")
            kind = "tag" if full.startswith(TAGS) else "push"
            only = frozenset((pipeline_id,))
            found = await self._judge.judge(
                repository, Occurrence(kind, "poll", full, None, after, only=only)
            )
        except BuildError as error:
            raise BadRequest(str(error)) from None
        return [
            Explanation(full, after, None, False, one.outcome, one.reason, one.job_id)
            for one in found.verdicts
            if one.pipeline_id == pipeline_id
        ]
