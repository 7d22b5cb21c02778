from __future__ import annotations

import base64
from collections.abc import AsyncIterator

import pytest

from rapidflow_web.forges import base
from rapidflow_web.forges.base import ForgeError, State
from tests.support import forges
from tests.support.forges import COMMIT, TOKEN, Canned, GitLab, StandIn
from tests.support.forges.calls import HOOK, PAGE, api_of, failure
from tests.support.payloads import SECRET

STATES: list[State] = ["pending", "running", "success", "failure", "cancelled"]


@pytest.fixture(params=forges.ALL, ids=lambda kind: kind.name)
async def forge(request: pytest.FixtureRequest) -> AsyncIterator[StandIn]:
    """Each of the forges in turn."""
    async with forges.running(request.param()) as stand_in:
        yield stand_in
        assert getattr(stand_in, "violations", []) == []


def url_of(hook: dict) -> str:
    """Where the webhook sends to."""
    return hook["config"]["url"] if "config" in hook else hook["url"]


def secret_of(hook: dict) -> str:
    """The secret that it has."""
    return hook["config"]["secret"] if "config" in hook else hook.get("token") or hook["secret"]


async def test_a_webhook_is_made_with_its_secret_and_the_events_that_count(forge: StandIn) -> None:
    hook_id = await api_of(forge).connect(HOOK, SECRET)

    ((stored_id, hook),) = forge.hooks.items()
    assert hook_id == stored_id
    assert url_of(hook) == HOOK and secret_of(hook) == SECRET
    assert hook.get("active", True) and hook.get("config", {}).get("content_type", "json") == "json"
    if forge.name == "gitlab":
        assert hook["push_events"] and hook["tag_push_events"] and hook["merge_requests_events"]
        assert base64.b64decode(hook["signing_token"].removeprefix("whsec_")).decode() == SECRET
    elif forge.name == "bitbucket":
        assert {"repo:push", "pullrequest:created", "pullrequest:updated"} <= set(hook["events"])
    else:
        assert hook["events"] == ["push", "pull_request"]


async def test_a_webhook_with_the_same_url_is_brought_up_to_date_and_no_second_one_made(
    forge: StandIn,
) -> None:
    await api_of(forge).connect("https://elsewhere.example.com/hook", "1" * 32)
    first = await api_of(forge).connect(HOOK, "2" * 32)

    second = await api_of(forge).connect(HOOK, SECRET)

    assert sorted(map(url_of, forge.hooks.values())) == [HOOK, "https://elsewhere.example.com/hook"]
    assert secret_of(forge.hooks[second]) == SECRET
    # A change would leave the secret of Gitea's webhook as it was.
    assert (first == second) is (forge.name not in ("gitea", "forgejo"))


async def test_a_webhook_is_found_on_a_later_page(forge: StandIn) -> None:
    await api_of(forge).connect(f"{HOOK}/0", SECRET)
    (template,) = forge.hooks.values()
    for number in range(1, 120):
        url = f"{HOOK}/{number}"
        copy = {**template, "id": number + 1000, "uuid": f"{{{number}}}"}
        copy |= {"config": {**template["config"], "url": url}} if "config" in template else {"url": url}
        forge.hooks[copy["uuid"] if forge.name == "bitbucket" else str(copy["id"])] = copy

    await api_of(forge).connect(f"{HOOK}/119", SECRET)

    assert len(forge.hooks) == 120


async def test_a_webhook_is_removed_and_one_that_is_gone_is_no_error(forge: StandIn) -> None:
    hook_id = await api_of(forge).connect(HOOK, SECRET)

    await api_of(forge).disconnect(hook_id)
    await api_of(forge).disconnect(hook_id)

    assert forge.hooks == {}


WORDS = {
    "github": ["pending", "pending", "success", "failure", "error"],
    "gitlab": ["pending", "running", "success", "failed", "canceled"],
    "gitea": ["pending", "pending", "success", "failure", "error"],
    "forgejo": ["pending", "pending", "success", "failure", "error"],
    "bitbucket": ["INPROGRESS", "INPROGRESS", "SUCCESSFUL", "FAILED", "STOPPED"],
}


@pytest.mark.parametrize("state", STATES)
async def test_each_state_is_said_in_the_words_of_the_forge(forge: StandIn, state: State) -> None:
    await api_of(forge).set_status(COMMIT, "rapidflow/app", state, "Step 2 failed", PAGE)

    (status,) = forge.statuses
    assert (status.get("status") or status["state"]) == WORDS[forge.name][STATES.index(state)]
    assert status["description"] == "Step 2 failed"
    assert (status.get("target_url") or status["url"]) == PAGE
    assert (status.get("context") or status["name"]) == "rapidflow/app"


async def test_the_same_state_twice_is_no_error(forge: StandIn) -> None:
    for state in (
        "pending",
        "pending",
        "running",
        "running",
        "pending",
        "success",
        "success",
        "pending",
        "failure",
    ):
        await api_of(forge).set_status(COMMIT, "rapidflow/app", state, state, PAGE)

    newest = forge.statuses[-1]
    assert (newest.get("status") or newest["state"]) == WORDS[forge.name][STATES.index("failure")]


async def test_other_refusals_of_gitlab_are_errors() -> None:
    async with forges.running(GitLab()) as gitlab:
        gitlab.first = [Canned(400, body='{"message": "Cannot transition status via :drop from :canceled"}')]
        error = await failure(gitlab)

        assert error.permanent and "Cannot transition status via :drop" in str(error)


async def test_long_texts_are_cut_to_what_the_forge_takes(forge: StandIn) -> None:
    for end in ("a", "b"):
        await api_of(forge).set_status(COMMIT, "rapidflow/" + "x" * 300 + end, "success", "é\n" * 300, PAGE)

    contexts = [status.get("key") or status.get("context") or status["name"] for status in forge.statuses]
    assert len(set(contexts)) == 2
    assert all(len(context) == (40 if forge.name == "bitbucket" else 255) for context in contexts)
    description = forge.statuses[0]["description"]
    assert description.startswith("é é é") and description.endswith("…")
    assert len(description) == (140 if forge.name == "github" else 255)


async def test_a_token_that_was_revoked_is_said_to_be(forge: StandIn) -> None:
    error = await failure(forge, token="revoked-token")

    assert error.status == 401 and error.permanent
    assert "rejected the token, which may have expired or been revoked" in str(error)
    assert "revoked-token" not in str(error)


NEEDS = {
    "github": "the scope admin:repo_hook",
    "gitlab": "the scope api, and the role Maintainer",
    "gitea": "the scope write:repository",
    "forgejo": "the scope write:repository",
    "bitbucket": "the scope webhook",
}


async def test_a_token_that_may_not_make_webhooks_is_told_what_it_needs(forge: StandIn) -> None:
    forge.may_hook = False

    with pytest.raises(ForgeError) as caught:
        await api_of(forge).connect(HOOK, SECRET)

    assert caught.value.status == 403 and caught.value.permanent
    assert str(caught.value).startswith(f"the token may not make webhooks: it needs {NEEDS[forge.name]}")


async def test_a_repository_that_is_not_there_is_said_to_be_hidden_or_gone(forge: StandIn) -> None:
    url = forge.clone_url.replace("/app.git", "/other.git")
    api = base.api_for(forge.name, url, TOKEN)
    assert api is not None

    with pytest.raises(ForgeError, match=r"has no '.*team/other', or the token can't access it") as caught:
        await api.connect(HOOK, SECRET)

    assert caught.value.permanent


async def test_an_unknown_commit_is_an_error_for_good(forge: StandIn) -> None:
    error = await failure(forge, commit="d" * 40)

    assert error.permanent and error.status in (404, 422)


async def test_gitlab_says_that_it_takes_no_addresses_of_its_own_network() -> None:
    async with forges.running(GitLab()) as gitlab:
        with pytest.raises(
            ForgeError, match="addresses of its own network only where its administrator allows"
        ):
            await api_of(gitlab).connect("http://10.0.0.1/hooks/x", SECRET)


@pytest.mark.parametrize(
    "body", ["", "[]", "<html>", '{"id": "x"}', '{"id": null}', "[" * 100_000, "[7]", "null"]
)
async def test_an_answer_that_is_no_api_is_an_error(forge: StandIn, body: str) -> None:
    forge.first = [Canned(200, body=body)] * 30

    with pytest.raises(ForgeError, match="does not answer like the API of a forge"):
        await api_of(forge).connect(HOOK, SECRET)
