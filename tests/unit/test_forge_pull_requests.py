from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.payloads import Body, only, payload

A = "a" * 40

PULL_REQUESTS = [
    ("github-pull-request-opened", "refs/pull/1/head", "opened", "master", "dev1-patch-1"),
    ("github-pull-request-synchronized", "refs/pull/1/head", "synchronize", "master", "dev1-patch-1"),
    ("octokit/pull-request-opened", "refs/pull/2/head", "opened", "changes", "master"),
    ("octokit/pull-request-closed", "refs/pull/2/head", "closed", "changes", "master"),
    ("octokit/pull-request-reopened", "refs/pull/2/head", "reopened", "changes", "master"),
    ("octokit/pull-request-labeled", "refs/pull/2/head", "labeled", "changes", "master"),
    ("gitea-pull-request-opened", "refs/pull/1/head", "opened", "feature", "master"),
    ("gitea-pull-request-synchronized", "refs/pull/1/head", "synchronize", "feature", "master"),
    ("forgejo-pull-request-opened", "refs/pull/1/head", "opened", "feature/changes", "main"),
    ("gitlab-merge-request-opened", "refs/merge-requests/1/head", "opened", "feature", "master"),
    ("gitlab-merge-request-subgroup", "refs/merge-requests/1/head", "opened", "feature", "master"),
    ("bitbucket-pull-request-created", "refs/pull-requests/1/from", "opened", "develop", "master"),
]


@pytest.mark.parametrize(("name", "ref", "action", "source", "target"), PULL_REQUESTS)
def test_pull_requests_of_all_forges_are_said_in_the_words_of_github(
    name: str, ref: str, action: str, source: str, target: str
) -> None:
    change = only(name)
    pull_request = change.pull_request

    assert change.kind == "pull_request" and change.ref.startswith(ref)
    assert pull_request is not None and change.after is not None
    assert pull_request.action == action
    assert pull_request.source.startswith(source) and pull_request.target == target
    assert pull_request.title == change.title and pull_request.title
    assert pull_request.url and pull_request.number > 0


ACTIONS = [
    ("gitea-pull-request-opened", "pull_request", {"action": "closed"}, "closed"),
    ("gitea-pull-request-opened", "pull_request", {"action": "reopened"}, "reopened"),
    ("gitea-pull-request-opened", "pull_request", {"action": "label_updated"}, "labeled"),
    ("bitbucket-pull-request-created", "pullrequest:updated", {}, "synchronize"),
    ("bitbucket-pull-request-created", "pullrequest:fulfilled", {}, "closed"),
    ("bitbucket-pull-request-created", "pullrequest:rejected", {}, "closed"),
]


@pytest.mark.parametrize(("name", "event", "fields", "action"), ACTIONS)
def test_each_action_has_one_word(name: str, event: str, fields: Body, action: str) -> None:
    pull_request = only(name, lambda body: body.update(fields), event=event).pull_request

    assert pull_request is not None and pull_request.action == action


GITLAB_ACTIONS = [
    ({"action": "reopen"}, {}, "reopened"),
    ({"action": "close"}, {}, "closed"),
    ({"action": "merge"}, {}, "closed"),
    ({"action": "approved"}, {}, "approved"),
    ({"action": "update", "oldrev": A}, {}, "synchronize"),
    ({"action": "update"}, {}, "edited"),
    ({"action": "update"}, {"title": {"previous": "a", "current": "b"}}, "edited"),
    ({"action": "update"}, {"draft": {"previous": True, "current": False}}, "ready_for_review"),
    ({"action": "update"}, {"draft": {"previous": False, "current": True}}, "converted_to_draft"),
    ({"action": None}, {}, "edited"),
]


@pytest.mark.parametrize(("fields", "changes", "action"), GITLAB_ACTIONS)
def test_an_update_at_gitlab_means_new_commits_only_with_the_old_one(
    fields: Body, changes: Body, action: str
) -> None:
    def update(body: Body) -> None:
        body["object_attributes"].update(fields)
        body["changes"] = changes

    change = only("gitlab-merge-request-opened", update)

    assert change.pull_request is not None and change.pull_request.action == action
    assert change.before == fields.get("oldrev")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("octokit/pull-request-opened", lambda body: body["pull_request"].update(draft=True)),
        ("gitea-pull-request-opened", lambda body: body["pull_request"].update(draft=True)),
        ("gitea-pull-request-opened", lambda body: body["pull_request"].update(title="WIP: later")),
        ("forgejo-pull-request-opened", lambda body: body["pull_request"].update(title="[wip] later")),
        ("gitlab-merge-request-opened", lambda body: body["object_attributes"].update(draft=True)),
        ("gitlab-merge-request-opened", lambda body: body["object_attributes"].update(work_in_progress=True)),
        ("bitbucket-pull-request-created", lambda body: body["pullrequest"].update(draft=True)),
    ],
)
def test_drafts_are_known(name: str, change: Callable[[Body], object]) -> None:
    plain, draft = only(name).pull_request, only(name, change).pull_request

    assert plain is not None and not plain.draft
    assert draft is not None and draft.draft


FORKS = [
    ("octokit/pull-request-opened", lambda body: body["pull_request"]["head"]["repo"], "id"),
    ("gitea-pull-request-opened", lambda body: body["pull_request"]["head"]["repo"], "id"),
    ("gitlab-merge-request-opened", lambda body: body["object_attributes"], "source_project_id"),
    ("bitbucket-pull-request-created", lambda body: body["pullrequest"]["source"]["repository"], "uuid"),
]


@pytest.mark.parametrize(("name", "where", "key"), FORKS)
def test_a_pull_request_from_another_repository_is_one_from_a_fork(
    name: str, where: Callable[[Body], Body], key: str
) -> None:
    def move(body: Body) -> None:
        fields = where(body)
        fields[key] = "{other}" if isinstance(fields[key], str) else 7

    own, other = only(name).pull_request, only(name, move).pull_request

    assert own is not None and not own.fork
    assert other is not None and other.fork


def _gone(path: str) -> Callable[[Body], None]:
    def remove(body: Body) -> None:
        *above, last = path.split(".")
        for key in above:
            body = body[key]
        body[last] = None

    return remove


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("octokit/pull-request-opened", "pull_request.head.repo"),
        ("github-pull-request-opened", "pull_request.head.repo"),
        ("gitea-pull-request-opened", "pull_request.head.repo"),
        ("gitlab-merge-request-opened", "object_attributes.source_project_id"),
        ("bitbucket-pull-request-created", "pullrequest.source.repository"),
    ],
)
def test_a_fork_that_is_gone_is_still_a_fork(name: str, path: str) -> None:
    pull_request = only(name, _gone(path)).pull_request

    assert pull_request is not None and pull_request.fork


def test_a_pull_request_that_does_not_say_where_it_comes_from_counts_as_a_forks() -> None:
    assert "repo" not in payload("forgejo-pull-request-opened")["pull_request"]["head"]

    pull_request = only("forgejo-pull-request-opened").pull_request

    assert pull_request is not None and pull_request.fork
