"""GitHub: its deliveries, and its API."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from rapidflow_web.forges.client import Client, Purpose, cut, shortened
from rapidflow_web.forges.fields import Field
from rapidflow_web.forges.shapes import TAG, Change, PullRequest, Read, State, neither_branch_nor_tag

_CONTEXT = 255
_STATES: Mapping[State, str] = {
    "pending": "pending",
    "running": "pending",
    "success": "success",
    "failure": "failure",
    "cancelled": "error",
}


def read(event: str, body: Field) -> Read:
    """What a delivery says. Raises `Unreadable`."""
    if event == "push":
        return read_push(body, peeled=True)
    if event == "pull_request":
        return Read((read_pull_request(body),))
    if event == "ping":
        return Read((), "GitHub tested the webhook, and it works")
    if event in ("create", "delete"):
        return Read((), f"GitHub also sends a push for a '{event}' event, and that one counts")
    return Read((), f"the GitHub event '{event}' starts no builds")


def read_push(body: Field, *, peeled: bool) -> Read:
    """A push, also of a tag and of a deletion.

    `peeled`: an annotated tag is given as the commit that it leads to. `after` is the tag itself.
    """
    ref = body["ref"].ref()
    is_tag = ref.startswith(TAG)
    if (nothing := neither_branch_nor_tag(ref)) is not None:
        return nothing
    head = body["head_commit"]
    after = None if body["deleted"].flag() else body["after"].commit()
    if after and is_tag and peeled:
        after = head["id"].commit() or after
    change = Change(
        kind="delete" if after is None else "tag" if is_tag else "push",
        ref=ref,
        before=body["before"].commit(),
        after=after,
        sender=sender(body),
        title=head["message"].words() or None,
    )
    return Read((change,))


def read_pull_request(body: Field) -> Change:
    """A pull request that changed in some way."""
    pull = body["pull_request"]
    number = (body["number"] or pull["number"]).number()
    head, base = pull["head"], pull["base"]
    head_id, base_id = head["repo"]["id"].identity(), base["repo"]["id"].identity()
    pull_request = PullRequest(
        number=number,
        title=pull["title"].words(),
        url=pull["html_url"].text_or_none(),
        source=head["ref"].branch(),
        target=base["ref"].branch(),
        # Also where the head's repository is gone.
        fork=head_id is None or head_id != base_id,
        action=body["action"].text(),
        draft=pull["draft"].flag(),
    )
    return Change(
        kind="pull_request",
        ref=f"refs/pull/{number}/head",
        before=body["before"].commit(),
        after=head["sha"].commit(),
        sender=sender(body),
        title=pull_request.title,
        pull_request=pull_request,
    )


def sender(body: Field) -> str | None:
    """Who pushed or acted."""
    name = (
        body["sender"]["login"].words() or body["pusher"]["login"].words() or body["pusher"]["name"].words()
    )
    return name or None


class GitHub:
    """The API of GitHub, and of GitHub Enterprise Server."""

    hook = Purpose(
        "make webhooks",
        "the scope admin:repo_hook, or the permission 'Webhooks: read and write' if it is a fine-grained one",
    )
    status = Purpose(
        "set commit statuses",
        "the scope repo:status, or the permission 'Commit statuses: read and write' if it is a fine-grained "
        "one",
    )
    longest_description = 140

    def __init__(self, base: str, owner: str, name: str, token: str) -> None:
        self._client = Client(base, self.headers(token), f"{owner}/{name}")
        self._repository = f"/repos/{quote(owner, safe='')}/{quote(name, safe='')}"
        self._hooks = f"{self._repository}/hooks"

    @staticmethod
    def headers(token: str) -> dict[str, str]:
        """By which a request proves who sends it, and which answer it wants."""
        return {
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {token}",
            "X-GitHub-Api-Version": "2022-11-28",
        }

    async def connect(self, hook_url: str, secret: str) -> str:
        """As `Api` says."""
        body = {
            "active": True,
            "events": ["push", "pull_request"],
            "config": {"url": hook_url, "content_type": "json", "secret": secret, "insecure_ssl": "0"},
        }
        with self._client.understood():
            for hook in await self._client.listed(self.hook, self._hooks, "per_page"):
                if hook["config"]["url"].value == hook_url:
                    path = f"{self._hooks}/{hook['id'].number()}"
                    answer = await self._client.call(self.hook, "PATCH", path, body)
                    break
            else:
                answer = await self._client.call(self.hook, "POST", self._hooks, {"name": "web", **body})
            return str(answer.data["id"].number())

    async def disconnect(self, hook_id: str) -> None:
        """As `Api` says."""
        await self._client.remove(self.hook, self._hooks, hook_id)

    async def set_status(
        self, commit: str, context: str, state: State, description: str, target_url: str
    ) -> None:
        """As `Api` says."""
        body = {
            "state": _STATES[state],
            "context": shortened(context, _CONTEXT),
            "description": cut(description, self.longest_description),
            "target_url": target_url,
        }
        path = f"{self._repository}/statuses/{quote(commit, safe='')}"
        await self._client.call(self.status, "POST", path, body)
