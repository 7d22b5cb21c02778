"""The stand-ins for forges, used by the clients that people use with the real ones."""

from __future__ import annotations

import asyncio

import aiohttp
import github
import gitlab
import pytest

from tests.support import forges
from tests.support.forges import COMMIT, TOKEN, Forgejo, Gitea, GitHub, GitLab, StandIn
from tests.support.forges.calls import HOOK, PAGE, api_of
from tests.support.payloads import SECRET

OTHER = "https://elsewhere.example.com/hook"
FAST = {"seconds_between_writes": 0, "seconds_between_requests": 0}


async def connect(forge: StandIn) -> str:
    """What the server does: the webhook, and two statuses."""
    api = api_of(forge)
    for state in ("running", "failure"):
        await api.set_status(COMMIT, "rapidflow/app", state, f"it is {state}", PAGE)
    return await api.connect(HOOK, SECRET)


async def test_pygithub_sees_what_the_server_told_github() -> None:
    def look() -> tuple[list[github.Hook.Hook], list[github.CommitStatus.CommitStatus]]:
        auth = github.Auth.Token(TOKEN)
        with github.Github(auth=auth, base_url=f"{forge.url}{forge.api}", lazy=True, **FAST) as client:
            repository = client.get_repo(forge.path)
            made = repository.create_hook(
                "web", {"url": OTHER, "content_type": "json"}, ["push"], active=True
            )
            made.edit("web", {"url": OTHER, "content_type": "form"}, events=["push"])
            hooks = list(repository.get_hooks())
            made.delete()
            with pytest.raises(github.GithubException, match="Hook already exists"):
                repository.create_hook("web", {"url": HOOK}, ["push"])
            return hooks, list(repository.get_commit(COMMIT).get_statuses())

    async with forges.running(GitHub()) as forge:
        hook_id = await connect(forge)
        assert forge.violations == []
        hooks, statuses = await asyncio.to_thread(look)
        again = await connect(forge)

    # PyGithub still sends the name.
    assert set(forge.violations) == {"PATCH /repos/{owner}/{repo}/hooks/{id} has no field 'name'"}
    assert [hook.config["url"] for hook in hooks] == [HOOK, OTHER]
    assert (str(hooks[0].id), hooks[0].active, hooks[0].events) == (hook_id, True, ["push", "pull_request"])
    assert hooks[1].config["content_type"] == "form"
    assert [(status.state, status.context) for status in statuses] == [
        ("failure", "rapidflow/app"),
        ("pending", "rapidflow/app"),
    ]
    assert statuses[0].target_url == PAGE
    assert again == hook_id and len(forge.hooks) == 1


async def test_what_github_does_not_document_is_noticed() -> None:
    async with forges.running(GitHub()) as forge, aiohttp.ClientSession() as session:
        at = f"{forge.url}{forge.api}/repos/{forge.path}"
        headers = {"Authorization": f"Bearer {TOKEN}"}
        wrong = {"state": "running", "ref": "main", "description": 7}
        await session.post(f"{at}/statuses/{COMMIT}", json=wrong, headers=headers)
        await session.get(f"{at}/hooks?limit=100", headers=headers)

        noticed = "\n".join(forge.violations)
    assert "'running' is not one of" in noticed or '"running" is not one of' in noticed
    assert "has no field 'ref'" in noticed and "has no parameter 'limit'" in noticed
    assert "7 is not" in noticed


async def test_python_gitlab_sees_what_the_server_told_gitlab() -> None:
    def look() -> tuple[list[gitlab.base.RESTObject], list[gitlab.base.RESTObject]]:
        with gitlab.Gitlab(forge.url, private_token=TOKEN) as client:
            project = client.projects.get(forge.path, lazy=True)
            made = project.hooks.create({"url": OTHER, "token": SECRET, "push_events": 1})
            made.push_events = False
            made.save()
            hooks = project.hooks.list(get_all=True)
            made.delete()
            commit = project.commits.get(COMMIT, lazy=True)
            commit.statuses.create({"state": "pending", "name": "other"})
            with pytest.raises(gitlab.GitlabCreateError, match="Cannot transition status via :enqueue"):
                commit.statuses.create({"state": "pending", "name": "other"})
            return list(hooks), list(commit.statuses.list(get_all=True))

    async with forges.running(GitLab()) as forge:
        hook_id = await connect(forge)
        hooks, statuses = await asyncio.to_thread(look)
        again = await connect(forge)

    assert [(hook.url, hook.push_events) for hook in hooks] == [(HOOK, True), (OTHER, False)]
    assert hooks[0].tag_push_events and hooks[0].merge_requests_events
    assert (statuses[0].name, statuses[0].status, statuses[0].target_url) == ("rapidflow/app", "failed", PAGE)
    assert again == hook_id == str(hooks[0].id) and len(forge.hooks) == 1


@pytest.mark.parametrize("kind", [Gitea, Forgejo])
async def test_a_client_of_gitea_sees_what_the_server_told_gitea(kind: type[Gitea]) -> None:
    import gitea_api_client  # takes seconds

    owner, name = kind.path.split("/")

    async with forges.running(kind()) as forge:
        hook_id = await connect(forge)
        configuration = gitea_api_client.Configuration(host=f"{forge.url}{forge.api}")
        configuration.api_key["AuthorizationHeaderToken"] = f"token {TOKEN}"
        async with gitea_api_client.ApiClient(configuration) as client:
            repository = gitea_api_client.RepositoryApi(client)
            config = {"url": OTHER, "content_type": "json", "secret": SECRET}
            wanted = gitea_api_client.CreateHookOption(type="gitea", config=config, active=True)
            made = await repository.repo_create_hook(owner, name, body=wanted)
            changed = gitea_api_client.EditHookOption(config={**config, "secret": "1" * 32}, active=False)
            await repository.repo_edit_hook(owner, name, made.id, body=changed)
            hooks = await repository.repo_list_hooks(owner, name)
            # The real one leaves the secret as it was.
            assert forge.hooks[str(made.id)]["config"]["secret"] == SECRET
            await repository.repo_delete_hook(owner, name, made.id)
            statuses = await repository.repo_list_statuses_by_ref(owner, name, COMMIT)
        again = await connect(forge)

    assert [(hook.config["url"], hook.active) for hook in hooks] == [(HOOK, True), (OTHER, False)]
    assert (str(hooks[0].id), hooks[0].events) == (hook_id, ["push", "pull_request"])
    assert [(status.status, status.context) for status in statuses] == [
        ("failure", "rapidflow/app"),
        ("pending", "rapidflow/app"),
    ]
    assert again != hook_id and list(forge.hooks) == [again]
