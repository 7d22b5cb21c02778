"""What happened at a repository, before it is judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rapidflow_web.forges.base import Change, PullRequest
from rapidflow_web.pipeline.triggers import Facts

Source = Literal["webhook", "poll", "push", "schedule"]

HEADS, TAGS = "refs/heads/", "refs/tags/"


@dataclass(frozen=True, slots=True)
class Occurrence:
    """A ref that changed, or a schedule that was due. `kind` and `source` are those of `Event`.

    With `only` it concerns no other pipelines. A `replay` is judged although its ref has that value already.
    """

    kind: str
    source: Source
    ref: str
    before: str | None = None
    after: str | None = None
    sender: str | None = None
    title: str | None = None
    pull_request: PullRequest | None = None
    delivery_id: int | None = None
    only: frozenset[int] | None = None
    replay: bool = False

    @classmethod
    def of(cls, change: Change, delivery_id: int, source: Source, *, replay: bool) -> Occurrence:
        """What a delivery says."""
        return cls(
            change.kind, source, change.ref, change.before, change.after, change.sender, change.title,
            change.pull_request, delivery_id, replay=replay,
        )  # fmt: skip

    @property
    def from_fork(self) -> bool:
        """Whether it is a pull request from another repository."""
        return self.pull_request is not None and self.pull_request.fork

    @property
    def branch(self) -> str | None:
        """The branch that was pushed, or that a schedule names; None for tags and pull requests."""
        if self.pull_request is not None or not self.ref.startswith(HEADS):
            return None
        return self.ref.removeprefix(HEADS)

    @property
    def tag(self) -> str | None:
        """The tag that was pushed."""
        return self.ref.removeprefix(TAGS) if self.ref.startswith(TAGS) else None

    def facts(self, pipeline: str, paths: tuple[str, ...] | None = None) -> Facts:
        """What the filters of a pipeline are judged on. `paths` are the changed files, None if not known."""
        request = self.pull_request
        return Facts(
            event=self.kind,
            ref=self.ref,
            branch=self.branch,
            tag=self.tag,
            target=request.target if request is not None else None,
            action=request.action if request is not None else None,
            draft=request is not None and request.draft,
            paths=paths,
            pipeline=pipeline,
            pull_request=request.number if request is not None else None,
        )

    @property
    def words(self) -> str:
        """What it is, in a few words."""
        if self.pull_request is not None:
            return f"the pull request {self.pull_request.number} into '{self.pull_request.target}'"
        if self.kind == "schedule":
            return f"the schedule for '{self.branch}'"
        return f"the tag '{self.tag}'" if self.tag is not None else f"the push to '{self.branch}'"
