"""Gitea and Forgejo, which send what GitHub sends, with some differences: their deliveries, and their API."""

from __future__ import annotations

from dataclasses import replace

from rapidflow_web.forges import github
from rapidflow_web.forges.client import Purpose
from rapidflow_web.forges.fields import Field
from rapidflow_web.forges.shapes import BRANCH, TAG, Change, Read

_ACTIONS = {"synchronized": "synchronize", "label_updated": "labeled", "label_cleared": "unlabeled"}
_DRAFTS = ("wip:", "[wip]")
"""What titles of drafts begin with, unless the forge's administrator set something else."""


def read(event: str, body: Field) -> Read:
    """What a delivery says. Raises `Unreadable`."""
    if event == "push":
        # The delivery `create`, which comes for the same tag, has the tag itself, too: both are one change.
        return github.read_push(body, peeled=False)
    if event in ("pull_request", "pull_request_sync"):
        return Read((_read_pull_request(body),))
    if event in ("create", "delete"):
        return _read_ref(event, body)
    return Read((), f"the Gitea or Forgejo event '{event}' starts no builds")


def _read_pull_request(body: Field) -> Change:
    change = github.read_pull_request(body)
    if (pull_request := change.pull_request) is None:
        return change
    action = _ACTIONS.get(pull_request.action, pull_request.action)
    draft = pull_request.draft or pull_request.title.lower().startswith(_DRAFTS)
    return replace(change, pull_request=replace(pull_request, action=action, draft=draft))


def _read_ref(event: str, body: Field) -> Read:
    kind = body["ref_type"].text()
    if kind not in ("tag", "branch"):
        return Read((), f"nothing is built for a '{kind[:100]}'")
    is_tag = kind == "tag"
    change = Change(
        kind="delete" if event == "delete" else "tag" if is_tag else "push",
        ref=body["ref"].ref_below(TAG if is_tag else BRANCH),
        before=None,
        after=None if event == "delete" else body["sha"].commit(),
        sender=github.sender(body),
    )
    return Read((change,))


class Gitea(github.GitHub):
    """The API of Gitea and Forgejo, which is GitHub's but for its webhooks."""

    hook = Purpose("make webhooks", "the scope write:repository, of a user who administers the repository")
    status = Purpose(
        "set commit statuses", "the scope write:repository, of a user who may push to the repository"
    )
    longest_description = 255

    @staticmethod
    def headers(token: str) -> dict[str, str]:
        """By which a request proves who sends it."""
        return {"Authorization": f"token {token}"}

    async def connect(self, hook_url: str, secret: str) -> str:
        """As `Api` says. A webhook that is there is replaced: a change would leave it its secret."""
        body = {
            "type": "gitea",  # Forgejo knows it, too.
            "active": True,
            "events": ["push", "pull_request"],
            "config": {"url": hook_url, "content_type": "json", "secret": secret},
        }
        with self._client.understood():
            there = await self._client.listed(self.hook, self._hooks, "limit")
            answer = await self._client.call(self.hook, "POST", self._hooks, body)
            made = str(answer.data["id"].number())
            for hook in there:
                if hook["config"]["url"].value == hook_url:
                    await self.disconnect(str(hook["id"].number()))
            return made
