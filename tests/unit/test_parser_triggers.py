"""The keys on what starts a build, groups, who is told, and when steps run: what they can mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rapidflow_web.errors import Invalid
from rapidflow_web.pipeline.definition import StepDefinition
from rapidflow_web.pipeline.limits import Limits
from rapidflow_web.pipeline.parser import parse, parse_in_repository
from rapidflow_web.pipeline.patterns import Patterns
from rapidflow_web.pipeline.triggers import (
    Concurrency,
    CronSchedule,
    NotifyTarget,
    On,
    PullRequestFilter,
    PushFilter,
    TagFilter,
    When,
)

EVERYTHING = """\
name: x
on:
  push: {branches: [main, "release/**"], paths: ["src/**", "!**/*.md"]}
  tag: ["v*"]
  pull_request: {branches: [main], types: [opened, synchronize, reopened], draft: true, paths: src/**}
  schedule: [{name: nightly, cron: "H 3 * * 1-5", timezone: Europe/Berlin, branch: main}, {cron: 0  0 * * *}]
concurrency: {group: "${{ pipeline }}-${{ ref }}", when_busy: cancel}
notify: [{mail: team@example.com, when: [failed, fixed]}, {webhook: HOOK, when: always}, {slack: S},
  {ntfy: N}]
steps:
  - content: make publish
    when: {event: tag, branches: main, tags: [v*], paths: a, status: always}
  - ls
"""
DEFAULT = frozenset(("broken", "fixed"))


def with_lines(lines: str) -> str:
    return f"name: x\nsteps: [ls]\n{lines}\n"


def messages(text: str) -> list[str]:
    with pytest.raises(Invalid) as caught:
        parse(text)
    return [problem.message for problem in caught.value.problems]


def on(lines: str) -> On | None:
    return parse(with_lines(lines)).on


def test_every_key_is_read():
    parsed = parse(EVERYTHING)
    assert parsed.on == On(
        push=PushFilter(Patterns(("main", "release/**")), Patterns(("src/**", "!**/*.md"))),
        tag=TagFilter(Patterns(("v*",))),
        pull_request=PullRequestFilter(Patterns(("main",)), paths=Patterns(("src/**",))),
        schedule=(
            CronSchedule("H 3 * * 1-5", "Europe/Berlin", "nightly", "main"),
            CronSchedule("0 0 * * *"),
        ),
    )
    assert parsed.concurrency == Concurrency("${{ pipeline }}-${{ ref }}", "cancel")
    assert parsed.notify == (
        NotifyTarget("mail", "team@example.com", frozenset(("failed", "fixed"))),
        NotifyTarget("webhook", "HOOK", frozenset(("always",))),
        NotifyTarget("slack", "S", DEFAULT),
        NotifyTarget("ntfy", "N", DEFAULT),
    )
    main, tags, paths = Patterns(("main",)), Patterns(("v*",)), Patterns(("a",))
    assert parsed.steps == (
        StepDefinition("make publish", when=When(("tag",), main, tags, paths, True, True)),
        StepDefinition("ls"),
    )
    assert [schedule.key() for schedule in parsed.on.schedule] == [
        "nightly|H 3 * * 1-5|Europe/Berlin",
        "|0 0 * * *|UTC",
    ]


def test_what_is_not_said_starts_nothing_and_tells_nobody():
    parsed = parse(with_lines(""))
    assert (parsed.on, parsed.concurrency, parsed.notify, parsed.steps[0].when) == (None, None, (), None)


PUSH_AND_TAG = On(push=PushFilter(), tag=TagFilter())


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("on: push", On(push=PushFilter())),
        ("on: [push, tag]", PUSH_AND_TAG),
        ("on: {push: , tag: }", PUSH_AND_TAG),
        ("on:\n  push:\n  tag: ~", PUSH_AND_TAG),
        ("'on': [push, tag]", PUSH_AND_TAG),
        ("true: [push, tag]", PUSH_AND_TAG),
        ("True: [push, tag]", PUSH_AND_TAG),
        ("On: [push, tag]", PUSH_AND_TAG),
        ("? on\n: [push, tag]", PUSH_AND_TAG),
        ("on: {push: {branches: 1.0}}", On(push=PushFilter(Patterns(("1.0",))))),
        ("on: {push: {branches: , paths: ~}}", On(push=PushFilter())),
        ("on: {push: {}}", On(push=PushFilter())),
        ("on: {tag: v*}", On(tag=TagFilter(Patterns(("v*",))))),
        ("on: {pull_request: {draft: false}}", On(pull_request=PullRequestFilter(
            types=("opened", "synchronize", "reopened", "ready_for_review"), draft=False))),
        ("on: {pull_request: {types: opened, draft: no}}",
         On(pull_request=PullRequestFilter(types=("opened",), draft=False))),
    ],
)  # fmt: skip
def test_short_forms_mean_the_same(lines: str, expected: On):
    assert on(lines) == expected


def test_group_may_stand_alone():
    assert parse(with_lines("concurrency: deploy")).concurrency == Concurrency("deploy", "queue")


EMPTY = "line 3, column {}: 'on' is empty; name push, tag, pull_request or schedule"
ONE_OF = "an item of 'notify' needs one of mail, webhook, slack and ntfy"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("on:", EMPTY.format(4)),
        ("on: {}", EMPTY.format(5)),
        ("on: []", "line 3, column 5: 'on' is an empty list, which nothing fits; leave it out"),
        ("on: pull-request", "line 3, column 5: 'on' can't be 'pull-request', did you mean 'pull_request'?"),
        ("on: [push, nightly]",
         "line 3, column 12: 'on' can't be 'nightly'; use push, tag, pull_request, schedule"),
        ("on: schedule", "line 3, column 5: a schedule needs a time; "
         "write schedule: [{cron: '30 3 * * 1-5'}] below 'on'"),
        ("on: {pusch: }", "line 3, column 6: unknown key 'pusch', did you mean 'push'?"),
        ("on: push\ntrue: tag", "line 4, column 1: duplicate key 'on', first used in line 3"),
        ("on: {push: main}",
         "line 3, column 12: 'push' must be a mapping of keys to values, not a value"),
        ("on: {push: [main]}",
         "line 3, column 12: 'push' must be a mapping, not a list; write push: {branches: [main]}"),
        ("on: {push: {branch: main}}", "line 3, column 13: unknown key 'branch', did you mean 'branches'?"),
        ("on: {push: {branches: []}}",
         "line 3, column 23: 'branches' is an empty list, which nothing fits; leave it out"),
        ("on: {push: {branches: {a: b}}}",
         "line 3, column 23: 'branches' must be a word or a list, not a mapping"),
        ("on: {push: {branches: [a, {b: c}]}}",
         "line 3, column 27: an item of 'branches' must be text, not a mapping; put text in quotes"),
        ("on: {push: {branches: ['!a']}}",
         "line 3, column 23: 'branches' begins with a pattern that takes out; begin with what is in, such as "
         "'**'"),
        ("on: {push: {branches: [refs/heads/main]}}",
         "line 3, column 24: write 'main', without refs/heads/"),
        ("on: {push: {paths: [a, /src/**]}}",
         "line 3, column 24: '/src/**' matches no file; paths of a repository begin without '/' and './'"),
        ("on: {push: {paths: [a, src/]}}",
         "line 3, column 24: 'src/' matches no file; add '**' for all files in the folder"),
        (f"on: {{push: {{paths: [{'a' * 90}/]}}}}",
         f"line 3, column 21: '{'a' * 57}...' matches no file; add '**' for all files in the folder"),
        ("on: {push: {branches: [a, /main/]}}",
         "line 3, column 27: '/main/' matches no branch or tag; names begin and end without '/'"),
        ("on: {tag: [v1/]}",
         "line 3, column 12: 'v1/' matches no branch or tag; names begin and end without '/'"),
        ("on: {push: {paths: [a, 'b{c,d}']}}",
         r"line 3, column 24: braces mean nothing here; write a pattern for each, or '\{' for a brace"),
        (f"on: {{push: {{paths: [{'a, ' * 51}]}}}}",
         "line 3, column 20: there are 51 patterns in 'paths'; at most 50 are taken"),
        ("on: {pull_request: {types: [opened, closed]}}",
         "line 3, column 37: 'types' can't be 'closed'; "
         "use opened, synchronize, reopened, ready_for_review, edited, labeled, unlabeled"),
        ("on: {pull_request: {types: [open]}}",
         "line 3, column 29: 'types' can't be 'open', did you mean 'opened'?"),
        ("on: {pull_request: {draft: 7}}", "line 3, column 28: 'draft' must be true or false"),
        ("on: {schedule: }", "line 3, column 16: 'schedule' must be a list of mappings, not empty"),
        ("on: {schedule: []}", "line 3, column 16: 'schedule' needs at least one item, with 'cron'"),
        ("on: {schedule: {cron: 0 0 * * *}}",
         "line 3, column 16: 'schedule' must be a list of mappings, not a mapping"),
        ("on: {schedule: [{name: x}]}",
         "line 3, column 17: a schedule needs 'cron', as in '30 3 * * 1-5'"),
        ("on: {schedule: [{cron: 0 25 * * *}]}",
         "line 3, column 24: '0 25 * * *' is not a cron line; the hour is wrong"),
        ("on: {schedule: [{cron: 0 0 * * *, timezone: Europe/berlin}]}",
         "line 3, column 45: there is no time zone 'Europe/berlin', did you mean 'Europe/Berlin'?"),
        ("on: {schedule: [{cron: 0 0 * * *, branch: -x}]}",
         "line 3, column 43: '-x' is not the name of a branch"),
        ("on: {schedule: [{cron: 0 0 * * *}, {cron: 0  0 * * *, branch: x}]}",
         "line 3, column 36: this schedule is there twice; give one another 'name'"),
        ("on: {schedule: [{cron: 0 0 LW * */7}, {cron: 0 0 LW * */7}]}",
         "line 3, column 24: the time of '0 0 LW * */7' never comes"),
        (f"on: {{schedule: [{'{cron: 0 0 * * *}, ' * 21}]}}",
         "line 3, column 16: there are 21 schedules in 'schedule'; at most 20 are taken"),
        ("concurrency: {when_busy: queue}", "line 3, column 14: 'concurrency' needs a 'group'"),
        ("concurrency: {group: a, when_busy: replaces}",
         "line 3, column 36: 'when_busy' can't be 'replaces', did you mean 'replace'?"),
        ("concurrency: {grupp: a}", "line 3, column 15: unknown key 'grupp', did you mean 'group'?"),
        ("concurrency: [a]",
         "line 3, column 14: 'concurrency' must be a mapping of keys to values, not a list"),
        ("concurrency: ''", "line 3, column 14: the group must be one line of at most 200 characters"),
        ("concurrency: '${{ branche }}'",
         "line 3, column 14: a group knows no 'branche', did you mean 'branch'?"),
        ("concurrency: '${{ secrets }}'",
         "line 3, column 14: a group knows no 'secrets'; "
         "use pipeline, ref, branch, event, target, pull_request"),
        ("concurrency: '${{ a.b() }}'",
         "line 3, column 14: '${{' needs a name and '}}' after it, as in ${{ branch }}"),
        ("notify: {mail: a@b}", "line 3, column 9: 'notify' must be a list of mappings, not a mapping"),
        ("notify: [{when: always}]", f"line 3, column 10: {ONE_OF}"),
        ("notify: [{}]", f"line 3, column 10: {ONE_OF}"),
        ("notify: [{mail: }]", f"line 3, column 10: {ONE_OF}"),
        ("notify: [{mail: a@b, slack: A}]", f"line 3, column 10: {ONE_OF}"),
        ("notify: [{male: a@b}]", "line 3, column 11: unknown key 'male', did you mean 'mail'?"),
        ("notify: [{mail: 'a@b, c@d'}]",
         "line 3, column 17: 'a@b, c@d' is not a mail address; write one like team@example.com"),
        ("notify: [{mail: a..b@c.de}]",
         "line 3, column 17: 'a..b@c.de' is not a mail address; write one like team@example.com"),
        ('notify: [{mail: "a@b\\r\\nBcc: c@d"}]',
         "line 3, column 17: 'a@b Bcc: c@d' is not a mail address; write one like team@example.com"),
        ("notify: [{webhook: 'https://example.com/a'}]",
         "line 3, column 20: 'webhook' needs the name of a secret that has the address, not "
         "'https://example.com/a'; store it with 'rapidflow secret set NAME'"),
        ("notify: [{mail: a@b, when: [broke]}]",
         "line 3, column 29: 'when' can't be 'broke', did you mean 'broken'?"),
        (f"notify: [{'{mail: a@b}, ' * 21}]",
         "line 3, column 9: there are 21 items in 'notify'; at most 20 are taken"),
    ],
)  # fmt: skip
def test_what_they_can_not_mean_is_refused_with_its_place(lines: str, expected: str):
    assert messages(with_lines(lines)) == [expected]


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ("tag", "line 3, column 11: 'when' must be a mapping of keys to values, not a value"),
        ("{on: tag}", "line 3, column 12: unknown key 'on'; it is a key of the pipeline"),
        ("{events: tag}", "line 3, column 12: unknown key 'events', did you mean 'event'?"),
        ("{event: tags}", "line 3, column 19: 'event' can't be 'tags', did you mean 'tag'?"),
        ("{event: retry}", "line 3, column 19: 'event' can't be 'retry'; use push, tag, pull_request, "
         "schedule, manual, api"),
        ("{status: failed}", "line 3, column 20: 'status' can't be 'failed', did you mean 'failure'?"),
        ("{status: []}", "line 3, column 20: 'status' is an empty list, which nothing fits; leave it out"),
        ("{branches: refs/heads/x}", "line 3, column 22: write 'x', without refs/heads/"),
    ],
)  # fmt: skip
def test_when_that_means_nothing_is_refused(when: str, expected: str):
    assert messages(f"name: x\nsteps:\n  - when: {when}\n    content: ls\n") == [expected]


STORED_ONLY = "only a pipeline that an administrator stores on the server may"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("repo_name: https://a/b",
         "line 3, column 12: a definition in a repository can't set 'repo_name': "
         "it builds the repository in which it stands"),
        ("repo_name: file:///etc/repo",
         "line 3, column 12: a definition in a repository can't set 'repo_name': "
         "it builds the repository in which it stands"),
        ("branch: main",
         "line 3, column 9: a definition in a repository can't set 'branch': "
         "it builds the commit in which it stands, and 'on' says which branches start builds"),
        ("new_privileges: true",
         f"line 3, column 17: a definition in a repository can't set 'new_privileges': {STORED_ONLY}"),
        ("expose_ports: true",
         f"line 3, column 15: a definition in a repository can't set 'expose_ports': {STORED_ONLY}"),
        ("timeout: 3h", "line 3, column 10: 'timeout' may be at most 1h on this server"),
    ],
)  # fmt: skip
def test_definition_in_a_repository_can_not_take_more(line: str, expected: str):
    with pytest.raises(Invalid) as caught:
        parse_in_repository(with_lines(line), Limits(timeout=3600))
    assert [problem.message for problem in caught.value.problems] == [expected]


def test_definition_in_a_repository_is_else_like_any_other():
    assert parse_in_repository(EVERYTHING) == parse(EVERYTHING)
    text = "steps: [ls]\nnew_privileges: false\nexpose_ports: false\nnetwork: none\n"
    assert parse_in_repository(text, default_name="build") == parse(text, (), "build")


WORDS = [
    "on", "push", "tag", "schedule", "cron", "branches", "paths", "when", "event", "status", "always", "mail",
    "notify", "concurrency", "group", "main", "**", "!a", "a@b", "0 0 * * *", "${{ ref }}", "H(0-7) * * * *",
    "true",
]  # fmt: skip
VALUES = st.recursive(
    st.sampled_from(WORDS) | st.none() | st.booleans() | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=3),
    max_leaves=8,
)


@given(st.fixed_dictionaries({}, optional={
    "on": VALUES, "concurrency": VALUES, "notify": VALUES, "steps": st.lists(
        st.fixed_dictionaries({"content": st.just("ls")}, optional={"when": VALUES}), min_size=1, max_size=2),
}))  # fmt: skip
def test_any_values_are_a_pipeline_or_refused_with_their_places(value: dict[str, object]):
    import json

    text = json.dumps({"name": "x", "steps": ["ls"], **value})
    try:
        parse(text)
    except Invalid as error:
        assert all(problem.line == 1 and problem.column for problem in error.problems)
