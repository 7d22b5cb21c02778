"""What deliveries of all forges become, and how a forge's API is used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from rapidflow_web.errors import RapidFlowError

Forge = Literal["github", "gitlab", "gitea", "forgejo", "bitbucket", "git"]
NAMES: tuple[Forge, ...] = get_args(Forge)
"""`git` is any other: it has no API, and its deliveries follow Standard Webhooks."""

BRANCH = "refs/heads/"
TAG = "refs/tags/"

Headers = Sequence[Sequence[str]]
"""Names and values in the order in which they came, as `Delivery.headers` keeps them."""

Kind = Literal["push", "tag", "pull_request", "delete"]
State = Literal["pending", "running", "success", "failure", "cancelled"]


class WrongSignature(RapidFlowError):
    """A delivery that does not prove that its sender knows the secret."""


class Unreadable(RapidFlowError):
    """A delivery that is not what the forge is known to send."""


class ForgeError(RapidFlowError):
    """What an API answered, or that it did not, with what to do.

    `status` is that of HTTP, 0 where there was no answer. `retry_at` is in seconds since 1970, where it is
    known: no call with that token should be made before. `permanent`: the same call will fail again.
    """

    def __init__(
        self, message: str, status: int = 0, *, retry_at: float | None = None, permanent: bool = False
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_at = retry_at
        self.permanent = permanent


@dataclass(frozen=True, slots=True)
class PullRequest:
    """A pull or merge request.

    `action` is GitHub's word: `opened`, `synchronize` (new commits), `reopened`, `closed` or another.
    `fork`: the repository that has its commits is another one than the target's, or gone.
    """

    number: int
    title: str
    url: str | None
    source: str
    target: str
    fork: bool
    action: str
    draft: bool


@dataclass(frozen=True, slots=True)
class Change:
    """A ref that changed, as the delivery says: a hint, to be checked with git.

    `ref` is a full name: `refs/heads/…`, `refs/tags/…`, or the forge's ref of a pull request's head. `before`
    is None for a new ref, `after` for a deleted one, or where a delivery does not say. `after` is a commit
    where the delivery has it; for an annotated tag of some forges it is the tag. Bitbucket shortens it for
    pull requests.
    """

    kind: Kind
    ref: str
    before: str | None
    after: str | None
    sender: str | None = None
    title: str | None = None
    pull_request: PullRequest | None = None


@dataclass(frozen=True, slots=True)
class Read:
    """What a delivery says. Without changes, `reason` is a sentence that says why there is nothing to do.

    `default_branch` is that of the repository, None where it is not said.
    """

    changes: tuple[Change, ...]
    reason: str | None = None
    default_branch: str | None = None


def neither_branch_nor_tag(ref: str) -> Read | None:
    """What a delivery about such a ref comes to; None for that of a branch or a tag."""
    if ref.startswith((BRANCH, TAG)):
        return None
    return Read((), f"nothing is built for '{ref[:100]}', which is neither a branch nor a tag")


class Api(Protocol):
    """The API of one repository's forge, used with one token. All methods raise `ForgeError`."""

    async def connect(self, hook_url: str, secret: str) -> str:
        """Makes the webhook, or changes the one that has this URL. Returns its id. Safe to call twice."""
        ...

    async def disconnect(self, hook_id: str) -> None:
        """Removes the webhook, if it is there."""
        ...

    async def set_status(
        self, commit: str, context: str, state: State, description: str, target_url: str
    ) -> None:
        """Shows the state at the commit. Each context has one state; the last call counts."""
        ...
