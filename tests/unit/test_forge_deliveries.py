from __future__ import annotations

import copy
import json
from urllib.parse import quote_plus

import pytest

from rapidflow_web.forges import base
from rapidflow_web.forges.base import Change, Unreadable
from tests.support.deliveries import ZERO
from tests.support.payloads import Body, headers_for, only, payload, read

A, B = "a" * 40, "b" * 40

PUSHES = [
    ("github-push", "refs/heads/master", "a10867b14bb7", "199eddf46df5", "Update README"),
    ("github-push-branch-created", "refs/heads/feature-branch", None, "", None),
    ("octokit/push-branch-created", "refs/heads/master", None, "6113728f27ae", None),
    ("gitlab-push", "refs/heads/master", "9217710ce8c7", "2adc9465c4ed", "added readme"),
    ("gitea-push", "refs/heads/master", "9836a96a253c", "4522cbcefc20", None),
    ("forgejo-push", "refs/heads/main", "4b2626259b5a", "ef98532add3b", None),
    ("bitbucket-push", "refs/heads/master", "40e7580cf113", "141977fedf5c", "Update README"),
]


@pytest.mark.parametrize(("name", "ref", "before", "after", "title"), PUSHES)
def test_a_push_says_which_branch_went_from_where_to_where(
    name: str, ref: str, before: str | None, after: str, title: str | None
) -> None:
    change = only(name)

    assert (change.kind, change.ref) == ("push", ref)
    assert (change.before or "")[:12] == (before or "")
    assert change.after is not None and change.after.startswith(after)
    assert title is None or change.title == title
    assert change.sender


TAGS = [
    ("github-push-tag", "refs/tags/v0.0.1", "d2b75aa7797e"),
    ("octokit/push-tag-created", "refs/tags/simple-tag", "6113728f27ae"),
    ("gitlab-tag", "refs/tags/v1.0.0", "2adc9465c4ed"),
    ("bitbucket-push-tag", "refs/tags/feature/x", "141977fedf5c"),
    ("gitea-create-tag", "refs/tags/v1.0.0", "599d25c67b05"),
    ("forgejo-create-tag", "refs/tags/v1.0.0", "ef98532add3b"),
]


@pytest.mark.parametrize(("name", "ref", "after"), TAGS)
def test_a_tag_is_told_from_a_branch(name: str, ref: str, after: str) -> None:
    change = only(name)

    assert (change.kind, change.ref, change.before) == ("tag", ref, None)
    assert change.after is not None and change.after.startswith(after)


DELETES = [
    ("github-push-branch-deleted", "refs/heads/"),
    ("octokit/push-tag-deleted", "refs/tags/simple-tag"),
    ("gitlab-tag-deleted", "refs/tags/v1.0.0"),
    ("bitbucket-push-branch-deleted", "refs/heads/develop"),
]


@pytest.mark.parametrize(("name", "ref"), DELETES)
def test_a_deletion_has_no_commit_afterwards(name: str, ref: str) -> None:
    change = only(name)

    assert change.kind == "delete" and change.ref.startswith(ref)
    assert change.after is None and change.before is not None


@pytest.mark.parametrize("name", ["gitlab-push", "gitea-push", "forgejo-push", "github-push"])
def test_a_branch_that_leads_to_zeros_is_deleted(name: str) -> None:
    def delete(body: Body) -> None:
        body.update(after=ZERO, checkout_sha=None, head_commit=None, commits=[])

    assert only(name, delete).kind == "delete"


def test_an_annotated_tag_of_gitlab_is_the_commit_that_it_leads_to() -> None:
    body = payload("gitlab-tag-2")
    assert body["after"] != body["checkout_sha"]

    change = only("gitlab-tag-2")

    assert change.after == body["checkout_sha"]
    assert change.title == "Update main.go"


def test_an_annotated_tag_of_github_is_the_commit_that_it_leads_to() -> None:
    change = only("github-push-tag", lambda body: body.update(after=A))

    assert change.after == payload("github-push-tag")["head_commit"]["id"]


@pytest.mark.parametrize("forge", ["gitea", "forgejo"])
def test_the_two_deliveries_for_a_tag_of_gitea_are_the_same_change(forge: str) -> None:
    # The tag is annotated: both have the tag itself, and only the push has its commit, too.
    created = only(f"{forge}-create-tag", lambda body: body.update(sha=A))
    pushed = only(
        f"{forge}-push",
        lambda body: body.update(ref="refs/tags/v1.0.0", before=ZERO, after=A, head_commit={"id": B}),
    )

    assert (created.kind, created.ref, created.after) == (pushed.kind, pushed.ref, pushed.after)


def test_gitea_may_name_a_new_ref_in_full() -> None:
    assert (
        only("gitea-create-tag", lambda body: body.update(ref="refs/tags/v1.0.0")).ref == "refs/tags/v1.0.0"
    )


def test_gitea_tells_of_branches_that_were_made_and_deleted() -> None:
    made = only("gitea-create-tag", lambda body: body.update(ref="topic", ref_type="branch"))
    deleted = only(
        "gitea-create-tag", lambda body: body.update(ref="topic", ref_type="branch"), event="delete"
    )

    assert (made.kind, made.ref, made.after) == (
        "push",
        "refs/heads/topic",
        payload("gitea-create-tag")["sha"],
    )
    assert (deleted.kind, deleted.ref, deleted.after) == ("delete", "refs/heads/topic", None)


def test_a_push_to_bitbucket_may_change_several_refs() -> None:
    def more(body: Body) -> None:
        changes = body["push"]["changes"]
        tag = payload("bitbucket-push-tag")["push"]["changes"][0]
        deleted = payload("bitbucket-push-branch-deleted")["push"]["changes"][0]
        annotated = copy.deepcopy(tag)
        annotated["new"] |= {"type": "annotated_tag", "name": "v2"}
        bookmark = copy.deepcopy(tag)
        bookmark["new"]["type"] = "bookmark"
        changes += [tag, deleted, annotated, bookmark, {"old": None, "new": None}]

    found = read("bitbucket-push", more)

    assert [(change.kind, change.ref) for change in found.changes] == [
        ("push", "refs/heads/master"),
        ("tag", "refs/tags/feature/x"),
        ("delete", "refs/heads/develop"),
        ("tag", "refs/tags/v2"),
    ]


def test_a_push_to_bitbucket_that_changes_nothing_says_so() -> None:
    found = read("bitbucket-push", lambda body: body["push"].update(changes=[]))

    assert found == base.Read((), "the push changed neither a branch nor a tag")


REASONS = [
    ("octokit/ping", "ping", "tested the webhook, and it works"),
    ("octokit/create-tag", "create", "also sends a push for a 'create' event"),
    ("octokit/delete-tag", "delete", "also sends a push for a 'delete' event"),
    ("github-push", "issue_comment", "the GitHub event 'issue_comment'"),
    ("gitea-push", "issues", "the Gitea or Forgejo event 'issues'"),
    ("bitbucket-push", "diagnostics:ping", "tested the webhook, and it works"),
    ("bitbucket-push", "pullrequest:approved", "the Bitbucket event 'pullrequest:approved'"),
]


@pytest.mark.parametrize(("name", "event", "reason"), REASONS)
def test_what_leads_to_no_build_says_why(name: str, event: str, reason: str) -> None:
    found = read(name, event=event)

    assert not found.changes and found.reason is not None and reason in found.reason


def test_other_events_of_gitlab_lead_to_no_build() -> None:
    found = read("gitlab-push", lambda body: body.update(object_kind="note"), event="Note Hook")

    assert found == base.Read((), "the GitLab event 'Note Hook' starts no builds")


@pytest.mark.parametrize("name", ["github-push", "gitlab-push", "gitea-push"])
def test_refs_that_are_neither_branches_nor_tags_lead_to_no_build(name: str) -> None:
    found = read(name, lambda body: body.update(ref="refs/notes/commits"))

    assert not found.changes and found.reason and "'refs/notes/commits'" in found.reason


def test_gitea_is_not_mistaken_for_github() -> None:
    body = json.dumps(payload("gitea-pull-request-synchronized")).encode()
    headers = headers_for("gitea", "pull_request", body)
    assert ["X-GitHub-Event", "pull_request"] in headers

    (change,) = base.read(headers, body).changes

    assert change.pull_request is not None and change.pull_request.action == "synchronize"


@pytest.mark.parametrize(
    "body",
    [
        {"type": "push", "data": {"ref": "refs/heads/main", "before": A, "after": B, "title": "Fix it"}},
        {"ref": "refs/heads/main", "before": A, "after": B, "title": "Fix it"},
        {"type": "git.push", "data": {"ref": "refs/heads/main", "before": A, "after": B, "title": "Fix it"}},
    ],
)
def test_a_plain_delivery_says_what_git_says(body: Body) -> None:
    data = json.dumps(body).encode()

    found = base.read(headers_for("git", "", data), data)

    assert found.changes == (Change("push", "refs/heads/main", A, B, title="Fix it"),)


@pytest.mark.parametrize(
    ("body", "kind", "after"),
    [
        ({"ref": "refs/tags/v1", "before": ZERO, "after": A}, "tag", A),
        ({"ref": "refs/heads/old", "before": A, "after": ZERO}, "delete", None),
        ({"type": "delete", "ref": "refs/heads/old"}, "delete", None),
        ({"ref": "refs/heads/main"}, "push", None),
    ],
)
def test_a_plain_delivery_may_be_of_a_tag_or_a_deletion(body: Body, kind: str, after: str | None) -> None:
    data = json.dumps(body).encode()

    (change,) = base.read([], data).changes

    assert (change.kind, change.after) == (kind, after)


@pytest.mark.parametrize("name", ["github-push", "gitea-push", "forgejo-push", "gitlab-push"])
def test_a_plain_delivery_may_be_what_a_forge_sends(name: str) -> None:
    data = json.dumps(payload(name)).encode()

    (change,) = base.read(headers_for("git", "", data), data).changes

    assert (change.kind, change.ref, change.after) == ("push", payload(name)["ref"], payload(name)["after"])


def test_a_delivery_without_an_event_is_a_plain_one() -> None:
    (change,) = base.read([], b'{"type": "push", "data": {"ref": "refs/heads/main"}}').changes

    assert (change.kind, change.ref) == ("push", "refs/heads/main")


def test_a_plain_delivery_of_another_type_says_which_there_are() -> None:
    found = base.read([], b'{"type": "invoice.paid"}')

    assert found.reason == "nothing is built for the type 'invoice.paid': send one of push, tag, delete"


def test_a_form_of_github_has_the_json_in_a_field() -> None:
    data = json.dumps(payload("github-push")).encode()
    form = b"payload=" + quote_plus(data).encode()
    headers = [
        ["X-GitHub-Event", "push"],
        ["Content-Type", "application/x-www-form-urlencoded; charset=utf-8"],
    ]

    assert base.read(headers, form) == base.read([["X-GitHub-Event", "push"]], data)


WRONG = [
    ("github-push", "ref", 7, "the field 'ref' must be text, not a number"),
    ("github-push", "ref", None, "the field 'ref' is missing"),
    ("github-push", "ref", "refs/heads/a/../b", "not the name of a branch or tag: 'refs/heads/a/../b'"),
    ("github-push", "ref", "refs/heads/a\0b", "the field 'ref' has control characters"),
    ("github-push", "ref", "refs/heads/" + "x" * 2000, "the field 'ref' has more than 1,000 characters"),
    ("github-push", "ref", "main", "not the name of a branch or tag: 'main'"),
    ("github-push", "after", "--upload-pack=x", "the field 'after' is not the id of a commit"),
    ("github-push", "after", ["x"], "the field 'after' must be text, not a list"),
    ("github-push", "head_commit", "x", "the field 'head_commit' must be an object, not text"),
    ("gitlab-push", "commits", {}, "the field 'commits' must be a list, not an object"),
    ("gitlab-push", "commits", [7], "the field 'commits[0]' must be an object, not a number"),
    ("gitea-create-tag", "ref_type", True, "the field 'ref_type' must be text, not true or false"),
    ("github-pull-request-opened", "pull_request", None, "the field 'pull_request.head.ref' is missing"),
    ("gitea-pull-request-opened", "number", -1, "the number in the field 'number' is out of range"),
    ("gitea-pull-request-opened", "number", True, "must be a whole number, not true or false"),
    ("bitbucket-push", "push", {"changes": [{}] * 1001}, "'push.changes' has more than 1,000 items"),
]


@pytest.mark.parametrize(("name", "key", "value", "message"), WRONG)
def test_what_is_wrong_with_a_delivery_is_said_with_the_field(
    name: str, key: str, value: object, message: str
) -> None:
    with pytest.raises(Unreadable) as caught:
        read(name, lambda body: body.update({key: value}))

    assert message in str(caught.value)


def test_titles_are_one_line_without_control_characters() -> None:
    message = "Fix \x1b[31mit\x00\ud800 " + "x" * 300 + "\n\nAnd more"

    title = only("github-push", lambda body: body["head_commit"].update(message=message)).title

    assert title is not None and title.startswith("Fix \ufffd[31mit\ufffd\ufffd x") and title.endswith("x…")
    assert len(title) == 255


def test_a_branch_that_looks_like_an_option_is_a_branch() -> None:
    assert only("github-push", lambda body: body.update(ref="refs/heads/-x")).ref == "refs/heads/-x"


def test_what_identifies_a_delivery_is_found_for_all_forges() -> None:
    for forge in ("github", "gitlab", "gitea", "forgejo", "bitbucket"):
        assert base.delivery_key(headers_for(forge, "push", b"")) == "1"
        assert base.event_name(headers_for(forge, "push", b"")) == "push"
    assert base.delivery_key(headers_for("git", "", b"")) == "msg_1"
    assert base.delivery_key([]) is None and base.event_name([]) == ""
    # GitLab's key is the same for each attempt.
    assert base.delivery_key([["X-Gitlab-Event-UUID", "a"], ["Idempotency-Key", "b"]]) == "b"


def test_what_identifies_a_delivery_is_bounded() -> None:
    keys = {base.delivery_key([["X-GitHub-Delivery", "x" * 300 + end]]) for end in ("a", "b", "\n", "\0")}

    assert len(keys) == 4 and all(key and len(key) <= 255 and key.isalnum() for key in keys)
    assert base.event_name([["X-GitHub-Event", "a\n" * 100]]) == "a?" * 32
