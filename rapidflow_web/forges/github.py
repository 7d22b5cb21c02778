"""GitHub: its deliveries, and its API."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from rapidflow_web.forges.client import Client, Purpose, cut, shortened
from rapidflow_web.forges.fields import Field
from rapidflow_web.forges.shapes import TAG, Change, PullRequest, Read, State, neither_branch_nor_tag

_URLS = ("clone_url", "ssh_url", "git_url", "html_url")
_DESCRIPTION = 140
_CONTEXT = 255
_STATES: Mapping[State, str] = {
    "pending": "pending",
    "running": "pending",
    "success": "success",
    "failure": "failure",
    "cancelled": "error",
}
_HOOK = Purpose(
    "make webhooks",
    "the scope admin:repo_hook, or the permission 'Webhooks: read and write' if it is a fine-grained one",
)
_STATUS = Purpose(
    "set commit statuses",
    "the scope repo:status, or the permission 'Commit statuses: read and write' if it is a fine-grained one",
)


def read(event: str, body: Field) -> Read:
    """What a delivery says. Raises `Unreadable`."""
    if event == "push":
        return read_push(body, peeled=True)
    if event == "pull_request":
        return Read((read_pull_request(body),))
    if event == "ping":
        return Read((), "GitHub asked whether the webhook works: it does")
    if event in ("create", "delete"):
        return Read((), f"GitHub sends a push for each '{event}', which is what counts")
    return Read((), f"nothing is built for the event '{event}' of GitHub")


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
        author=head["author"]["name"].words() or None,
        urls=urls(body["repository"]),
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
        head_repository=head["repo"]["full_name"].text_or_none(),
    )
    return Change(
        kind="pull_request",
        ref=f"refs/pull/{number}/head",
        before=body["before"].commit(),
        after=head["sha"].commit(),
        sender=sender(body),
        title=pull_request.title,
        author=pull["user"]["login"].words() or None,
        pull_request=pull_request,
        urls=urls(body["repository"]),
    )


def sender(body: Field) -> str | None:
    """Who pushed or acted."""
    name = (
        body["sender"]["login"].words() or body["pusher"]["login"].words() or body["pusher"]["name"].words()
    )
    return name or None


def urls(repository: Field) -> tuple[str, ...]:
    """Where the repository is, for git and for browsers."""
    found = (repository[name].text_or_none() for name in _URLS)
    return tuple(url for url in found if url)


class GitHub:
    """The API of GitHub, and of GitHub Enterprise Server."""

    def __init__(self, base: str, owner: str, name: str, token: str) -> None:
        headers = {
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {token}",
            "X-GitHub-Api-Version": "2022-11-28",
        }
        self._client = Client(base, headers, f"{owner}/{name}")
        self._repository = f"/repos/{quote(owner, safe='')}/{quote(name, safe='')}"

    async def connect(self, hook_url: str, secret: str) -> str:
        """As `Api` says."""
        hooks = f"{self._repository}/hooks"
        body = {
            "active": True,
            "events": ["push", "pull_request"],
            "config": {"url": hook_url, "content_type": "json", "secret": secret, "insecure_ssl": "0"},
        }
        with self._client.understood():
            for hook in await self._client.listed(_HOOK, hooks, "per_page"):
                if hook["config"]["url"].value == hook_url:
                    answer = await self._client.call(_HOOK, "PATCH", f"{hooks}/{hook['id'].number()}", body)
                    break
            else:
                answer = await self._client.call(_HOOK, "POST", hooks, {"name": "web", **body})
            return str(answer.data["id"].number())

    async def disconnect(self, hook_id: str) -> None:
        """As `Api` says."""
        path = f"{self._repository}/hooks/{quote(hook_id, safe='')}"
        await self._client.call(_HOOK, "DELETE", path, allowed=(404,))

    async def set_status(
        self, commit: str, context: str, state: State, description: str, target_url: str
    ) -> None:
        """As `Api` says."""
        body = {
            "state": _STATES[state],
            "context": shortened(context, _CONTEXT),
            "description": cut(description, _DESCRIPTION),
            "target_url": target_url,
        }
        await self._client.call(
            _STATUS, "POST", f"{self._repository}/statuses/{quote(commit, safe='')}", body
        )
