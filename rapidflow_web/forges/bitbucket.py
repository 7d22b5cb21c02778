"""Bitbucket Cloud: its deliveries, and its API."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from rapidflow_web.forges.client import Client, Purpose, cut, shortened
from rapidflow_web.forges.fields import Field
from rapidflow_web.forges.shapes import Change, PullRequest, Read, State

_ACTIONS = {
    "pullrequest:created": "opened",
    # Also for a new title or reviewer; the delivery does not tell.
    "pullrequest:updated": "synchronize",
    "pullrequest:fulfilled": "closed",
    "pullrequest:rejected": "closed",
}
_TEXT = 255
_KEY = 40
_STATES: Mapping[State, str] = {
    "pending": "INPROGRESS",
    "running": "INPROGRESS",
    "success": "SUCCESSFUL",
    "failure": "FAILED",
    "cancelled": "STOPPED",
}
_HOOK = Purpose("make webhooks", "the scope webhook, and to administer the repository")
_STATUS = Purpose("set commit statuses", "the scope repository")


def read(event: str, body: Field) -> Read:
    """What a delivery says. Raises `Unreadable`."""
    if event == "repo:push":
        return _read_push(body)
    if event in _ACTIONS:
        return Read((_read_pull_request(_ACTIONS[event], body),))
    if event == "diagnostics:ping":
        return Read((), "Bitbucket tested the webhook, and it works")
    return Read((), f"the Bitbucket event '{event}' starts no builds")


def _read_push(body: Field) -> Read:
    changes: list[Change] = []
    for change in body["push"]["changes"].items():
        old, new = change["old"], change["new"]
        if not old and not new:
            continue
        kind = (new or old)["type"].text()
        if kind not in ("branch", "tag", "annotated_tag"):
            continue
        is_tag = kind != "branch"
        head = new["target"]
        changes.append(
            Change(
                kind="delete" if not new else "tag" if is_tag else "push",
                ref=(new or old)["name"].ref_below("refs/tags/" if is_tag else "refs/heads/"),
                before=old["target"]["hash"].commit(),
                after=head["hash"].commit(),
                sender=_sender(body),
                title=head["message"].words() or None,
            )
        )
    return Read(tuple(changes), None if changes else "the push changed neither a branch nor a tag")


def _read_pull_request(action: str, body: Field) -> Change:
    pull = body["pullrequest"]
    source, target = pull["source"], pull["destination"]
    source_id = source["repository"]["uuid"].identity()
    branch = source["branch"]["name"].branch()
    title = pull["title"].words()
    pull_request = PullRequest(
        number=pull["id"].number(),
        title=title,
        url=pull["links"]["html"]["href"].text_or_none(),
        source=branch,
        target=target["branch"]["name"].branch(),
        # Also where the source's repository is gone.
        fork=source_id is None or source_id != target["repository"]["uuid"].identity(),
        action=action,
        draft=pull["draft"].flag(),
    )
    return Change(
        kind="pull_request",
        # No ref of the repository, as Bitbucket has none of pull requests; the branch has its own changes.
        ref=f"refs/pull-requests/{pull_request.number}/from",
        before=None,
        after=source["commit"]["hash"].short_commit(),
        sender=_sender(body),
        title=title,
        pull_request=pull_request,
    )


def _sender(body: Field) -> str | None:
    actor = body["actor"]
    name = actor["nickname"].words() or actor["username"].words() or actor["display_name"].words()
    return name or None


class Bitbucket:
    """The API of Bitbucket Cloud."""

    def __init__(self, base: str, owner: str, name: str, token: str) -> None:
        self._client = Client(base, {"Authorization": f"Bearer {token}"}, f"{owner}/{name}")
        self._repository = f"/repositories/{quote(owner, safe='')}/{quote(name, safe='')}"

    async def connect(self, hook_url: str, secret: str) -> str:
        """As `Api` says."""
        hooks = f"{self._repository}/hooks"
        body = {
            "description": "RapidFlow Web",
            "url": hook_url,
            "active": True,
            "secret": secret,
            "events": ["repo:push", *_ACTIONS],
        }
        with self._client.understood():
            for hook in await self._client.listed(_HOOK, hooks, "pagelen", below="values"):
                if hook["url"].value == hook_url:
                    path = f"{hooks}/{quote(hook['uuid'].text(), safe='')}"
                    answer = await self._client.call(_HOOK, "PUT", path, body)
                    break
            else:
                answer = await self._client.call(_HOOK, "POST", hooks, body)
            return answer.data["uuid"].text()

    async def disconnect(self, hook_id: str) -> None:
        """As `Api` says."""
        await self._client.remove(_HOOK, f"{self._repository}/hooks", hook_id)

    async def set_status(
        self, commit: str, context: str, state: State, description: str, target_url: str
    ) -> None:
        """As `Api` says. What tells statuses apart is their key, so all of the context is in it."""
        body = {
            "key": shortened(context, _KEY),
            "name": cut(context, _TEXT),
            "state": _STATES[state],
            "description": cut(description, _TEXT),
            "url": target_url,
        }
        path = f"{self._repository}/commit/{quote(commit, safe='')}/statuses/build"
        await self._client.call(_STATUS, "POST", path, body)
