"""What people do on the page of a repository: connect it, poll it, change it, remove it."""

from __future__ import annotations

from typing import Any

from quart import Response, redirect
from werkzeug.wrappers import Response as WerkzeugResponse

from rapidflow_web.db import repositories
from rapidflow_web.errors import Conflict, RequestError
from rapidflow_web.pages import forms
from rapidflow_web.pages.blueprint import blueprint
from rapidflow_web.pages.repositories import repository_page, secret_page, settings_of
from rapidflow_web.web.gate import audit_subject
from rapidflow_web.web.repositories import hook_url, poll_seconds
from rapidflow_web.web.requests import started_by
from rapidflow_web.web.services import services


@blueprint.post("/ui/repositories/<repository_id>/change")
async def change_repository(repository_id: int) -> Response | WerkzeugResponse:
    """Changes a repository, or says why not."""
    form = await forms.fields()
    typed: dict[str, Any] = {
        "poll": form.get("poll", "").strip(),
        "forge": form.get("forge", ""),
        "forks": form.get("forks", ""),
        "secrets": await forms.chosen("secrets"),
    }
    repository = await repositories.existing(repository_id)
    stored = settings_of(repository)
    if forms.is_old(form, stored) and stored != typed:
        now = {**stored, "secrets": " and ".join(stored["secrets"]) or "none"}
        others = ", ".join(f"{name} {now[name]}" for name in now if stored[name] != typed[name])
        problem = (
            "not saved: the settings were changed after you opened the page, and differ from yours: "
            f"{others}; save again to replace them"
        )
        return await repository_page(repository, 409, settings=typed, change_problem=problem)
    try:
        wanted = {**typed, "poll": poll_seconds(typed["poll"])}
        if token := form.get("token", "").strip():
            wanted["token"] = token
        await services().triggers.repositories.change(repository.id, started_by("web"), **wanted)
    except RequestError as error:
        return await repository_page(repository, error.status, settings=typed, change_problem=str(error))
    return redirect(f"/ui/repositories/{repository.id}?done=changed", 303)


@blueprint.post("/ui/repositories/<repository_id>/connect")
async def connect_repository(repository_id: int) -> Response | WerkzeugResponse:
    """Makes the webhook at the forge, with the token that is stored or given, or says why not."""
    repository = await repositories.existing(repository_id)
    try:
        if token := (await forms.fields()).get("token", "").strip():
            await services().triggers.repositories.change(repository.id, started_by("web"), token=token)
        await services().triggers.repositories.connect(repository.id, hook_url(repository))
    except RequestError as error:
        return await repository_page(repository, error.status, connect_problem=str(error))
    return redirect(f"/ui/repositories/{repository.id}?done=connected", 303)


@blueprint.post("/ui/repositories/<repository_id>/secret")
async def renew_hook_secret(repository_id: int) -> Response:
    """Makes a new secret for the webhook and shows it, this once."""
    repository = await repositories.existing(repository_id)
    # Sent again, as by a reload of the answer, it would end the secret that the forge still signs with.
    if forms.is_old(await forms.fields(), repository.old_secret_until):
        problem = (
            "no secret was made: one was made after you opened the page. Only that one and the one before it "
            "count, so another would end the secret that the forge may still use"
        )
        return await repository_page(repository, 409, secret_problem=problem)
    try:
        secret = await services().triggers.repositories.new_secret(repository, started_by("web"))
    except Conflict as error:
        repository = await repositories.existing(repository_id)
        return await repository_page(repository, error.status, secret_problem=str(error))
    return await secret_page(repository, secret)


@blueprint.post("/ui/repositories/<repository_id>/poll")
async def poll_repository(repository_id: int) -> Response | WerkzeugResponse:
    """Polls a repository now, or says why that can't be done."""
    repository = await repositories.existing(repository_id)
    try:
        await services().triggers.repositories.poll(repository.id)
    except RequestError as error:
        # The reason is stored, and shown as the error of the last poll.
        return await repository_page(await repositories.existing(repository.id), error.status)
    return redirect(f"/ui/repositories/{repository.id}?done=polled", 303)


@blueprint.post("/ui/repositories/<repository_id>/remove")
async def remove_repository(repository_id: int) -> Response | WerkzeugResponse:
    """Removes a repository; its builds stay."""
    repository = await repositories.existing(repository_id)
    audit_subject(repository.url)
    left = await services().triggers.repositories.remove(repository.id)
    if left is not None:
        return await forms.page("repository_removed.html", repository=repository, left=left)
    return redirect("/ui/repositories?done=removed", 303)
