"""What starts a build, which steps run, which group it is in: refusals quote the filter and the value."""

from __future__ import annotations

from typing import Any

import pytest

from rapidflow_web.pipeline.definition import ParsedPipeline, judged
from rapidflow_web.pipeline.parser import parse
from rapidflow_web.pipeline.triggers import Facts, skip_word


def pipeline(text: str) -> ParsedPipeline:
    return parse(f"name: x\n{text}\nsteps: [ls]\n")


def refusal(on: str, event: str, **facts: Any) -> str | None:
    """Why an event starts no build of a pipeline with this `on`."""
    parsed = pipeline(f"on: {on}")
    assert parsed.on is not None
    return parsed.on.refusal(Facts(event=event, **facts))


PUSH = '{push: {branches: [main, "release/**"], paths: ["src/**", "!**/*.md"]}}'
PULL = "{pull_request: {branches: [main], draft: false}}"


@pytest.mark.parametrize(
    ("on", "event", "facts", "reason"),
    [
        ("push", "push", {"branch": "any", "paths": ()}, None),
        ("[push, tag]", "tag", {"tag": "v1"}, None),
        ("{tag: }", "tag", {"tag": "v1"}, None),
        ("push", "tag", {"tag": "v1"}, "'on' does not name tag, only push"),
        ("[tag, push, pull_request]", "schedule", {},
         "'on' does not name schedule, only push, tag and pull_request"),
        ("push", "delete", {}, "'on' does not name delete, only push"),
        ("push", "manual", {}, None),
        ("tag", "api", {"branch": "x"}, None),
        ("tag", "retry", {}, None),
        (PUSH, "push", {"branch": "main", "paths": ("README.md", "src/a.py")}, None),
        (PUSH, "push", {"branch": "release/1/2"}, None),
        (PUSH, "push", {"branch": "docs/x", "paths": ("src/a",)},
         "the branch 'docs/x' does not fit on.push.branches [main, release/**]"),
        (PUSH, "push", {"branch": "main", "paths": ("README.md", "src/a.md", "a", "b", "c")},
         "no changed file fits on.push.paths [src/**, !**/*.md]; changed: README.md, src/a.md and 3 more"),
        (PUSH, "push", {"branch": "main", "paths": ("README.md",)},
         "no changed file fits on.push.paths [src/**, !**/*.md]; changed: README.md"),
        (PUSH, "push", {"branch": "main", "paths": ()},
         "no changed file fits on.push.paths [src/**, !**/*.md]; changed: nothing"),
        ('{tag: ["v*", "!*-rc*"]}', "tag", {"tag": "v1"}, None),
        ('{tag: ["v*", "!*-rc*"]}', "tag", {"tag": "v1-rc2"},
         "the tag 'v1-rc2' does not fit on.tag [v*, !*-rc*]"),
        (PULL, "pull_request", {"target": "main", "action": "ready_for_review"}, None),
        (PULL, "pull_request", {"target": "main"}, None),
        (PULL, "pull_request", {"target": "main", "branch": "x", "action": "closed"},
         "the action 'closed' does not fit on.pull_request.types "
         "[opened, synchronize, reopened, ready_for_review]"),
        (PULL, "pull_request", {"target": "dev", "action": "opened"},
         "the target branch 'dev' does not fit on.pull_request.branches [main]"),
        (PULL, "pull_request", {"target": "main", "action": "opened", "draft": True},
         "the pull request is a draft, and on.pull_request.draft is false"),
        ("pull_request", "pull_request", {"target": "x", "action": "opened", "draft": True}, None),
        ('{schedule: [{cron: "0 3 * * *"}]}', "schedule", {"branch": "main"}, None),
        ("{push: {branches: [main]}}", "push", {"branch": "a\x1b[31m\u202e" + "b" * 90},
         r"the branch 'a\x1b[31m\u202e" + "b" * 50 + "...' does not fit on.push.branches [main]"),
    ],
)  # fmt: skip
def test_event_fits_or_is_refused_with_filter_and_value(
    on: str, event: str, facts: dict[str, Any], reason: str | None
):
    assert refusal(on, event, **facts) == reason


def test_long_list_of_patterns_is_shown_in_part():
    names = ", ".join(f"b{number}" for number in range(12))
    assert refusal(f"{{push: {{branches: [{names}]}}}}", "push", branch="x") == (
        "the branch 'x' does not fit on.push.branches [b0, b1, b2, b3, b4, b5, b6, b7, b8, b9, and 2 more]"
    )


WHEN = "{event: [push, pull_request], branches: main, paths: 'src/**'}"


@pytest.mark.parametrize(
    ("when", "facts", "failed", "reason", "runs"),
    [
        (WHEN, {"event": "push", "branch": "main"}, False, None, True),
        (WHEN, {"event": "push", "branch": "main", "paths": ("src/a",)}, False, None, True),
        (WHEN, {"event": "push", "branch": "main", "paths": ("a",)}, False,
         "no changed file fits when.paths [src/**]; changed: a", False),
        (WHEN, {"event": "tag", "tag": "v1"}, False,
         "the event 'tag' does not fit when.event [push, pull_request]", False),
        (WHEN, {"event": "pull_request", "target": "main", "ref": "refs/heads/main"}, False,
         "there is no branch that could fit when.branches [main]", False),
        ("{paths: a}", {"event": "schedule", "paths": ("b",)}, False, None, True),
        ("{paths: a}", {"event": "tag", "paths": ("b",)}, False, None, True),
        ("{paths: a}", {"event": "manual", "paths": ("b",)}, False, None, True),
        ("{tags: 'v*'}", {"event": "api", "tag": "v1"}, False, None, True),
        ("{tags: 'v*'}", {"event": "api", "tag": "w1"}, False,
         "the tag 'w1' does not fit when.tags [v*]", False),
        ("{}", {"event": "push"}, False, None, True),
        ("{}", {"event": "push"}, True, None, False),
        ("{status: failure}", {"event": "push"}, True, None, True),
        ("{status: failure}", {"event": "push"}, False, None, False),
        ("{status: always}", {"event": "push"}, True, None, True),
        ("{status: always}", {"event": "push"}, False, None, True),
        ("{status: [success, failure]}", {"event": "push"}, True, None, True),
        ("{status: failure, event: tag}", {"event": "push"}, True,
         "the event 'push' does not fit when.event [tag]", False),
    ],
)  # fmt: skip
def test_step_runs_or_is_left_out_with_the_reason(
    when: str, facts: dict[str, Any], failed: bool, reason: str | None, runs: bool
):
    parsed = parse(f"name: x\nsteps: [{{content: ls, when: {when}}}]")
    (step,) = parsed.steps
    assert step.when is not None and step.when.left_out(Facts(**facts)) == reason
    (step,) = judged(parsed, Facts(**facts))
    assert step.runs_after(failed) is runs


@pytest.mark.parametrize(
    ("group", "name"),
    [
        ("deploy", "deploy"),
        ("${{ pipeline }}-${{ ref }}", "Go build-refs/heads/a"),
        ("${{branch}}/${{ event }}/${{  target  }}/${{ pull_request }}", "a/push//7"),
        ("$x {{ ref }}", "$x {{ ref }}"),
    ],
)
def test_group_is_named_by_the_build(group: str, name: str):
    concurrency = pipeline(f"concurrency: '{group}'").concurrency
    facts = Facts(event="push", branch="a", ref="refs/heads/a", pipeline="Go build", pull_request=7)
    assert concurrency is not None and concurrency.group_of(facts) == name


def test_value_in_a_group_is_not_read_again():
    concurrency = pipeline("concurrency: '${{ branch }}'").concurrency
    assert concurrency is not None
    assert concurrency.group_of(Facts(event="push", branch="${{ ref }}", ref="r")) == "${{ ref }}"


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        ("ls", False),
        ("{content: ls, when: {status: always}}", False),
        ("{content: ls, when: {event: push}}", True),
        ("{content: ls, when: {branches: main}}", True),
        ("{content: ls, when: {paths: a}}", True),
    ],
)
def test_pipeline_says_whether_its_steps_depend_on_the_event(text: str, reads: bool):
    assert parse(f"name: x\nsteps: [{text}]").reads_event is reads


@pytest.mark.parametrize(
    ("message", "word"),
    [
        ("Fix it", None),
        ("Fix it [skip ci]", "[skip ci]"),
        ("[CI Skip] Fix it", "[CI Skip]"),
        ("Fix it\n\nbecause [no ci]", "[no ci]"),
        ("x [skip actions]", "[skip actions]"),
        ("x [actions skip]", "[actions skip]"),
        ("x (skip ci)", None),
        ("x [skip  ci]", None),
        ("Fix it\n\nskip-checks: true", "skip-checks: true"),
        ("Fix it\n\nWhy.\n\nSigned-off-by: A <a@b>\nSkip-Checks:true\n", "Skip-Checks:true"),
        ("Fix it\n\nskip-checks: true\n\nSigned-off-by: A <a@b>", None),
        ("skip-checks: true", None),
        ("Fix it\n\nskip-checks: false", None),
        ("", None),
        ("[" * 1_000_000 + "[skip ci]", None),
        ("skip-checks:" + " \t" * 500_000 + "\n\n" + "skip-checks:  \t" * 60_000, None),
    ],
)
def test_message_may_say_that_no_build_is_wanted(message: str, word: str | None):
    assert skip_word(message) == word
