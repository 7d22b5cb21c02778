"""GitLab: its deliveries, and its API."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from urllib.parse import quote

from rapidflow_web.forges.client import Client, Purpose, cut, shortened
from rapidflow_web.forges.fields import Field
from rapidflow_web.forges.shapes import (
    TAG,
    Change,
    ForgeError,
    PullRequest,
    Read,
    State,
    neither_branch_nor_tag,
)

_ACTIONS = {"open": "opened", "reopen": "reopened", "close": "closed", "merge": "closed", "update": "edited"}
_TEXT = 255
_KEY_BYTES = 32
_STATES: Mapping[State, str] = {
    "pending": "pending",
    "running": "running",
    "success": "success",
    "failure": "failed",
    "cancelled": "canceled",
}
_REPEATED = re.compile(
    r"cannot transition status via :(?:enqueue|run) from :(?:pending|running)", re.IGNORECASE
)
_HOOK = Purpose(
    "make webhooks",
    "the scope api, and the role Maintainer",
    "it takes addresses of its own network only where its administrator allows requests to them",
)
_STATUS = Purpose("set commit statuses", "the scope api, and the role Developer")


def read(event: str, body: Field) -> Read:
    """What a delivery says. Raises `Unreadable`.

    Its `object_kind` counts: a system hook has the same event for all.
    """
    kind = body["object_kind"].text_or_none()
    if kind in ("push", "tag_push"):
        return _read_push(body)
    if kind == "merge_request":
        return Read((_read_merge_request(body),))
    return Read((), f"the GitLab event '{event or kind}' starts no builds")


def _read_push(body: Field) -> Read:
    ref = body["ref"].ref()
    is_tag = ref.startswith(TAG)
    if (nothing := neither_branch_nor_tag(ref)) is not None:
        return nothing
    after = body["after"].commit()
    if after and is_tag:
        # Of an annotated tag, `after` is the tag itself.
        after = body["checkout_sha"].commit() or after
    head = _commit(body["commits"], after)
    change = Change(
        kind="delete" if after is None else "tag" if is_tag else "push",
        ref=ref,
        before=body["before"].commit(),
        after=after,
        sender=(body["user_username"].words() or body["user_name"].words()) or None,
        title=head["message"].words() or None,
    )
    return Read((change,))


def _commit(commits: Field, wanted: str | None) -> Field:
    """The commit of the list, of which GitLab sends up to 20; null where it is not in it."""
    for commit in commits.items():
        if wanted and commit["id"].value == wanted:
            return commit
    return Field(None, commits.path)


def _read_merge_request(body: Field) -> Change:
    merge = body["object_attributes"]
    number = merge["iid"].number()
    source_id = merge["source_project_id"].identity()
    title = merge["title"].words()
    pull_request = PullRequest(
        number=number,
        title=title,
        url=merge["url"].text_or_none(),
        source=merge["source_branch"].branch(),
        target=merge["target_branch"].branch(),
        # Also where the source's project is gone.
        fork=source_id is None or source_id != merge["target_project_id"].identity(),
        action=_action(body),
        draft=merge["draft"].flag() or merge["work_in_progress"].flag(),
    )
    return Change(
        kind="pull_request",
        ref=f"refs/merge-requests/{number}/head",
        before=merge["oldrev"].commit(),
        after=merge["last_commit"]["id"].commit(),
        sender=body["user"]["username"].words() or None,
        title=title,
        pull_request=pull_request,
    )


def _action(body: Field) -> str:
    merge = body["object_attributes"]
    # A merge request that was made by a system hook has no action.
    action = merge["action"].text_or_none() or "edited"
    if action != "update":
        return _ACTIONS.get(action, action)
    if merge["oldrev"].commit():
        return "synchronize"
    draft = body["changes"]["draft"]
    if draft:
        return "converted_to_draft" if draft["current"].flag() else "ready_for_review"
    return "edited"


class GitLab:
    """The API of GitLab. `path` is that of the project with its groups."""

    def __init__(self, base: str, path: str, token: str) -> None:
        self._client = Client(base, {"Authorization": f"Bearer {token}"}, path)
        self._project = f"/projects/{quote(path, safe='')}"

    async def connect(self, hook_url: str, secret: str) -> str:
        """As `Api` says."""
        hooks = f"{self._project}/hooks"
        body = {
            "url": hook_url,
            "token": secret,
            "push_events": True,
            "tag_push_events": True,
            "merge_requests_events": True,
            "enable_ssl_verification": True,
            **_signing(secret),
        }
        with self._client.understood():
            for hook in await self._client.listed(_HOOK, hooks, "per_page"):
                if hook["url"].value == hook_url:
                    answer = await self._client.call(_HOOK, "PUT", f"{hooks}/{hook['id'].number()}", body)
                    break
            else:
                answer = await self._client.call(_HOOK, "POST", hooks, body)
            return str(answer.data["id"].number())

    async def disconnect(self, hook_id: str) -> None:
        """As `Api` says."""
        await self._client.remove(_HOOK, f"{self._project}/hooks", hook_id)

    async def set_status(
        self, commit: str, context: str, state: State, description: str, target_url: str
    ) -> None:
        """As `Api` says. What GitLab refuses because it shows that state already is done."""
        body = {
            "state": _STATES[state],
            "name": shortened(context, _TEXT),
            "description": cut(description, _TEXT),
            "target_url": target_url,
        }
        path = f"{self._project}/statuses/{quote(commit, safe='')}"
        try:
            await self._client.call(_STATUS, "POST", path, body)
        except ForgeError as error:
            if error.status != 400 or not _REPEATED.search(str(error)):
                raise


def _signing(secret: str) -> dict[str, str]:
    """The key with which newer servers sign, where the secret can be one. Older ones ignore it."""
    key = secret.encode()
    return {"signing_token": f"whsec_{base64.b64encode(key).decode()}"} if len(key) == _KEY_BYTES else {}
