"""Pages of repositories: the list, adding one, one with its pipelines, its branches."""

from __future__ import annotations

from typing import Any

from quart import Response, request

from rapidflow_web.accounts.roles import Role
from rapidflow_web.db import branches, build_lists, events, repositories, secrets, statuses
from rapidflow_web.db.database import now_ms
from rapidflow_web.db.trigger_models import Repository
from rapidflow_web.errors import RequestError
from rapidflow_web.forges import base as forges
from rapidflow_web.forges import post_receive
from rapidflow_web.pages import forms
from rapidflow_web.pages.blueprint import blueprint
from rapidflow_web.pages.happened import happened
from rapidflow_web.pipeline.clone_credentials import without_password
from rapidflow_web.pipeline.durations import format_duration
from rapidflow_web.triggers.repositories import FORKS
from rapidflow_web.web.gate import actor, audit_subject, may
from rapidflow_web.web.repositories import hook_url, server_url
from rapidflow_web.web.requests import started_by
from rapidflow_web.web.services import services

_REPOSITORIES = 50
_BRANCHES = 50
_EVENTS = 5
_DONE = {
    "changed": "The settings are saved.",
    "connected": "Webhook created. The forge now sends pushes, tags and pull requests.",
    "polled": "Polled. Changes are listed under Latest events.",
    "removed": "The repository is removed. Its builds stay.",
}


@blueprint.get("/ui/repositories")
async def show_repositories() -> Response:
    """The repositories with their pipelines."""
    before = forms.number(request.args.get("before", ""))
    found = await repositories.listed(before=before, limit=_REPOSITORIES + 1)
    shown = found[:_REPOSITORIES]
    pipelines = await repositories.visible_pipelines_of([one.id for one in shown])
    every = [pipeline.id for of_one in pipelines.values() for pipeline in of_one]
    bars = await build_lists.bars_of_each(every, 1)
    return await forms.page(
        "repositories.html",
        repositories=shown,
        pipelines=pipelines,
        problems=await repositories.visible_problems_of(shown),
        last={pipeline_id: of_one[-1] for pipeline_id, of_one in bars.items() if of_one},
        older=shown[-1].id if len(found) > _REPOSITORIES else None,
        is_first=before is None,
        done=_DONE.get(request.args.get("done", "")),
    )


@blueprint.get("/ui/repositories/new")
async def show_new_repository() -> Response:
    """The form to add a repository."""
    return await _new_page()


@blueprint.post("/ui/repositories")
async def add_repository() -> Response:
    """Adds a repository and shows what was found, and its secret, this once; or says why not."""
    form = await forms.fields()
    url, forge = form.get("url", "").strip(), form.get("forge", "")
    token = form.get("token", "").strip()
    try:
        added = await services().triggers.repositories.add(
            url, forge or None, token or None, started_by("web")
        )
    except RequestError as error:
        # A password in it is not sent back.
        return await _new_page(error.status, problem=str(error), url=_shown(url), forge=forge)
    audit_subject(added.repository.url)
    return await secret_page(added.repository, added.hook_secret, added=True)


def _shown(url: str) -> str:
    try:
        return without_password(url)
    except ValueError:
        return ""


async def _new_page(status: int = 200, **values: Any) -> Response:
    return await forms.page("new_repository.html", status, **{"forges": forges.NAMES, "url": "", **values})


async def secret_page(repository: Repository, secret: str, *, added: bool = False) -> Response:
    """Shows the secret of a webhook, this once, and how to connect the repository."""
    return await forms.page(
        "repository_secret.html",
        repository=repository,
        secret=secret,
        added=added,
        pipelines=await repositories.pipelines_of(repository.id),
        poll=_poll_of(repository),
        **connecting(repository),
    )


def _poll_of(repository: Repository) -> str:
    """How often it is polled, as people write it."""
    return "off" if repository.poll is None else format_duration(repository.poll)


def settings_of(repository: Repository) -> dict[str, Any]:
    """What the form of the settings has: texts, and a list of the `secrets`."""
    return {
        "poll": _poll_of(repository),
        "forge": repository.forge,
        "forks": repository.forks,
        "secrets": repository.secrets,
    }


def connecting(repository: Repository) -> dict[str, Any]:
    """What is shown of how to connect a repository."""
    needs_token = actor().name is not None
    return {
        "hook_url": hook_url(repository),
        "post_receive": post_receive.script(server_url(), repository.id, with_token=needs_token),
        "needs_token": needs_token,
        "has_api": forges.api_for(repository.forge, repository.url, "") is not None,
    }


@blueprint.get("/ui/repositories/<repository_id>")
async def show_repository(repository_id: int) -> Response:
    """A repository with its pipelines, and what can be changed."""
    return await repository_page(
        await repositories.existing(repository_id), done=_DONE.get(request.args.get("done", ""))
    )


async def repository_page(repository: Repository, status: int = 200, **values: Any) -> Response:
    """The page of a repository, with what was typed into its forms and what is wrong with that."""
    pipelines = (await repositories.visible_pipelines_of([repository.id]))[repository.id]
    bars = await build_lists.bars_of_each([pipeline.id for pipeline in pipelines], 1)
    stored = settings_of(repository)
    shown: dict[str, Any] = {"poll": stored["poll"], "settings": stored, "settings_mark": forms.mark(stored)}
    if may(Role.ADMIN):
        everywhere = [secret.name for secret in await secrets.listed(secrets.EVERYWHERE)]
        shown |= {
            "forges": forges.NAMES,
            "forks": FORKS,
            "secrets": sorted({*everywhere, *repository.secrets}),
            "status_error": await statuses.error_of(repository.id),
            "secret_mark": forms.mark(repository.old_secret_until),
            "old_secret_counts": (repository.old_secret_until or 0) > now_ms(),
            **connecting(repository),
        }
    return await forms.page(
        "repository.html",
        status,
        repository=repository,
        pipelines=pipelines,
        problems=(await repositories.visible_problems_of([repository]))[repository.id],
        last={pipeline_id: of_one[-1] for pipeline_id, of_one in bars.items() if of_one},
        events=await happened(await events.listed(repository.id, limit=_EVENTS)),
        **shown | values,
    )


@blueprint.get("/ui/repositories/<repository_id>/branches")
async def show_branches(repository_id: int) -> Response:
    """The branches and pull requests of a repository with their last builds."""
    repository = await repositories.existing(repository_id)
    number = forms.number(request.args.get("page", "")) or 1
    found = await branches.listed(repository, _BRANCHES + 1, (number - 1) * _BRANCHES)
    return await forms.page(
        "repository_branches.html",
        repository=repository,
        branches=found[:_BRANCHES],
        page=number,
        more=len(found) > _BRANCHES,
    )
