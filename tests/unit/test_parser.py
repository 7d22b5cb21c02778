"""The pipeline language: what each key means, and what is said of what it can't mean."""

from __future__ import annotations

import pytest

from rapidflow_web.errors import Invalid, Problem
from rapidflow_web.pipeline.build_reader import MAX_STEPS
from rapidflow_web.pipeline.definition import ParsedPipeline, StepDefinition
from rapidflow_web.pipeline.limits import NO_LIMITS, PARSERS, Limits
from rapidflow_web.pipeline.parser import MAX_PROBLEMS, parse

EVERYTHING = """\
name: Go Build Pipeline
repo_name: https://github.com/user/repo
branch: main
folder: ./my-go-app
language: golang
version: "1.21"
image: golang:1.21-bookworm
expose_ports: true
new_privileges: true
on_node: {gpu: yes, zone: "a"}
env: {CGO_ENABLED: "0"}
timeout: 30m
steps:
  - type: sh
    name: download
    content: go mod download
    files:
      config.json: '{"port": 3000}'
  - go build -o app .
"""
SMALLEST = "name: x\nsteps: [ls]\n"


def problems(text: str, roots: tuple[str, ...] = ()) -> tuple[Problem, ...]:
    """What is said of a text that is not a pipeline."""
    with pytest.raises(Invalid) as caught:
        parse(text, roots)
    assert str(caught.value) == caught.value.problems[0].message
    return caught.value.problems


def messages(text: str) -> list[str]:
    return [problem.message for problem in problems(text)]


def message(text: str) -> str:
    """The one thing that is said of a text that is not a pipeline."""
    (only,) = messages(text)
    return only


def with_line(line: str) -> str:
    """A pipeline with one more line, its third."""
    return f"{SMALLEST}{line}\n"


def test_every_key_of_the_language_is_read():
    assert parse(EVERYTHING) == ParsedPipeline(
        name="Go Build Pipeline",
        steps=(
            StepDefinition("go mod download", "sh", "download", {"config.json": '{"port": 3000}'}),
            StepDefinition("go build -o app ."),
        ),
        repo_name="https://github.com/user/repo",
        branch="main",
        folder="./my-go-app",
        language="golang",
        version="1.21",
        image="golang:1.21-bookworm",
        expose_ports=True,
        new_privileges=True,
        on_node={"gpu": "yes", "zone": "a"},
        env={"CGO_ENABLED": "0"},
        limits=Limits(timeout=1800),
    )


def test_what_is_not_said_has_its_default():
    assert parse(SMALLEST) == ParsedPipeline(
        name="x",
        steps=(StepDefinition(content="ls", type="bash", name=None, files={}),),
        repo_name=None,
        branch=None,
        folder=None,
        language=None,
        version=None,
        image=None,
        expose_ports=False,
        network=True,
        new_privileges=False,
        on_node={},
        env={},
        limits=NO_LIMITS,
    )


def test_a_key_without_a_value_is_as_good_as_none():
    empty = "".join(
        f"{key}:\n"
        for key in (
            "repo_name", "branch", "folder", "language", "version", "image", "expose_ports", "env",
            *PARSERS,
        )
    )  # fmt: skip
    assert parse(SMALLEST + empty) == parse(SMALLEST)
    step = "name: x\nsteps: [{content: ls, type: , name: ~, files: null}]"
    assert parse(step) == parse(SMALLEST)


def test_json_is_yaml():
    assert parse('{"name": "x", "steps": [{"type": "sh", "content": "a\\nb"}]}').steps == (
        StepDefinition("a\nb", "sh"),
    )


@pytest.mark.parametrize(
    "version", ["1.20", "1.21", "3", "08", "1_0", "20.10", "true", "2024-01-01", "1.15.7-otp"]
)
def test_a_version_stays_as_it_is_written(version: str):
    assert parse(with_line(f"version: {version}")).version == version


def test_a_branch_may_look_like_a_number():
    assert parse(with_line("branch: 1.10")).branch == "1.10"


def test_values_of_the_environment_stay_as_they_are_written():
    env = parse(with_line("env: {A: 010, B: yes, C: 1.50, D: , E: '', F: 2024-01-01, G: 'a: b', H: =}")).env
    assert env == {
        "A": "010", "B": "yes", "C": "1.50", "D": "", "E": "", "F": "2024-01-01", "G": "a: b", "H": "=",
    }  # fmt: skip


def test_names_of_the_environment_may_be_words_that_yaml_knows():
    assert parse(with_line("env: {ON: a, NO: b, null: c, _: d}")).env == {
        "ON": "a",
        "NO": "b",
        "null": "c",
        "_": "d",
    }


def test_a_script_keeps_its_lines():
    text = "name: x\nsteps:\n  - |\n    if true; then\n      echo 'a: b' # c\n    fi\n"
    assert parse(text).steps[0].content == "if true; then\n  echo 'a: b' # c\nfi\n"


def test_parts_may_be_shared_by_anchors():
    text = "name: x\nsteps:\n  - &build {type: sh, content: make}\n  - *build\n"
    assert parse(text).steps == (StepDefinition("make", "sh"),) * 2


def test_secrets_are_named_in_their_order():
    assert parse(with_line("secrets: [DEPLOY_KEY, TOKEN]")).secrets == ("DEPLOY_KEY", "TOKEN")
    assert parse(with_line("secrets: []")).secrets == parse(with_line("secrets:")).secrets == ()
    assert parse(with_line("secrets: [PORT]")).secrets == ("PORT",)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("secrets: TOKEN", "'secrets' must be a list of names, not a value; "),
        ("secrets: {TOKEN: hunter2}", "'secrets' must be a list of names, not a mapping; "),
        ("secrets: {TOKEN: hunter2}", "values are stored with 'rapidflow secret set NAME'"),
        ("secrets: [A, B, A]", "the secret A is there twice"),
        ("secrets: [1A]", "'1A' is not a variable name"),
        ("secrets: [1]", "the name of a secret must be text, not a number"),
        ("secrets: [[A]]", "the name of a secret must be text, not a list"),
        ("secrets: [A]\nenv: {A: '1'}", "A is in 'env', too; take it out there, where anybody can read it"),
        ("secrets: [PORT]\nexpose_ports: true", "PORT can't be a secret with 'expose_ports'"),
        ("secrets: [CI]", "CI is a variable that every build has"),
        ("secrets: [RAPIDFLOW_COMMIT]", "RAPIDFLOW_COMMIT is a variable that every build has"),
        ("secrets: [RANDOM]", "RANDOM is a variable that every build has"),
        ("secret: [A]", "unknown key 'secret', did you mean 'secrets'?"),
    ],
)
def test_what_is_wrong_with_secrets_is_said(line: str, expected: str):
    assert expected in message(with_line(line))


@pytest.mark.parametrize(
    ("text", "flag"),
    [
        ("true", True),
        ("True", True),
        ("yes", True),
        ("on", True),
        ("false", False),
        ("no", False),
        ("OFF", False),
    ],
)
def test_expose_ports_is_a_flag(text: str, flag: bool):
    assert parse(with_line(f"expose_ports: {text}")).expose_ports is flag


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("30m", 1800), ("1h30m", 5400), ("168h", 604800)]
)
def test_a_timeout_is_a_duration(text: str, seconds: int):
    assert parse(with_line(f"timeout: {text}")).limits.timeout == seconds


def test_the_name_of_the_request_serves_where_the_text_has_none():
    assert parse("steps: [ls]", name="given").name == "given"
    assert parse(SMALLEST, name="given").name == "x"


def test_space_around_a_name_is_not_part_of_it():
    assert parse("name: ' x '\nsteps: [ls]").name == "x"


# Unknown, missing and duplicate keys.


def test_a_misspelt_key_is_the_only_complaint_and_says_what_was_meant():
    text = "name: x\nrepo_name: https://github.com/user/repo\nstpes: [ls]"
    assert problems(text) == (
        Problem("stpes", "line 3, column 1: unknown key 'stpes', did you mean 'steps'?", 3, 1),
    )


def test_a_misspelt_key_of_a_step_is_the_only_complaint():
    text = "name: x\nsteps:\n  - contnet: ls"
    assert problems(text) == (
        Problem("steps[0].contnet", "line 3, column 5: unknown key 'contnet', did you mean 'content'?", 3, 5),
    )


def test_a_misspelt_name_is_the_only_complaint():
    assert "did you mean" not in message(with_line("iron: x"))
    assert message("nmae: x\nsteps: [ls]") == "line 1, column 1: unknown key 'nmae', did you mean 'name'?"


def test_a_key_in_the_wrong_case_is_told_the_right_one():
    assert (
        message(with_line("Branch: main")) == "line 3, column 1: unknown key 'Branch', did you mean 'branch'?"
    )


def test_a_key_like_no_other_is_unknown_and_no_more():
    assert message(with_line("parallelism: 4")) == "line 3, column 1: unknown key 'parallelism'"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("approval: true", "unknown key 'approval'; it is a key of a job"),
        ("draft: false", "unknown key 'draft'; it is a key of 'pull_request'"),
        ("paths: [a]", "unknown key 'paths'; it is a key of 'push', 'pull_request' or 'when'"),
        ("optional: true", "unknown key 'optional'; it is a key of an item of 'needs'"),
        ("mail: a@b.de", "unknown key 'mail'; it is a key of an item of 'notify'"),
        ("'*': a", "unknown key '*'"),
    ],
)
def test_a_key_of_another_place_says_where_it_belongs(line: str, expected: str):
    assert message(with_line(line)) == f"line 3, column 1: {expected}"


def test_a_very_long_key_is_shortened():
    assert message(with_line(f"{'k' * 900}: 4")) == f"line 3, column 1: unknown key '{'k' * 57}...'"


def test_a_key_of_several_lines_is_shown_in_one():
    assert message(with_line('"a\\nb": 1')) == "line 3, column 1: unknown key 'a b'"


def test_a_duplicate_key_names_the_first():
    assert message(with_line("name: y")) == "line 3, column 1: duplicate key 'name', first used in line 1"
    assert (
        message(with_line("env:\n  A: 1\n  A: 2"))
        == "line 5, column 3: duplicate key 'A', first used in line 4"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "the pipeline is empty; it needs at least 'name' and 'steps'"),
        ("# only a comment\n", "the pipeline is empty; it needs at least 'name' and 'steps'"),
        ("~", "the pipeline is empty; it needs at least 'name' and 'steps'"),
        ("---\n...\n", "the pipeline is empty; it needs at least 'name' and 'steps'"),
        ("hello", "line 1, column 1: the pipeline must be a mapping of keys to values, not a value"),
        ("\n- name: x", "line 2, column 1: the pipeline must be a mapping of keys to values, not a list"),
        ("steps: [ls]", "line 1, column 1: the pipeline needs a 'name'"),
        ("name:\nsteps: [ls]", "line 1, column 1: the pipeline needs a 'name'"),
        ("name: x", "line 1, column 1: the pipeline needs 'steps'"),
        ("name: x\nsteps:", "line 2, column 7: the pipeline needs 'steps'"),
        ("name: x\nsteps: []", "line 2, column 8: 'steps' needs at least one step"),
        ("name: x\nsteps: [{}]", "line 2, column 9: a step needs 'content', the script to run"),
        ("name: x\nsteps: [{content: }]", "line 2, column 9: a step needs 'content', the script to run"),
        ("name: x\nsteps: ['']", "line 2, column 9: a step needs 'content', the script to run"),
        ("name: x\nsteps:\n  -", "line 3, column 4: a step must be text, and nothing is there"),
        (
            "name: x\nsteps: [{content: '  '}]",
            "line 2, column 19: a step needs 'content', the script to run",
        ),
    ],
)
def test_what_is_missing_is_said(text: str, expected: str):
    assert message(text) == expected


@pytest.mark.parametrize("script", ["echo version: 3", 'echo "a: b"', "curl -H Accept: example.com"])
def test_a_script_that_yaml_takes_apart_at_a_colon_is_said_to_need_quotes(script: str):
    assert message(f"name: x\nsteps:\n  - {script}\n") == (
        f"line 3, column 5: '{script}' is not a script but a mapping, by the colon in it; "
        "put quotes around all of it, or write it below 'content: |'"
    )


@pytest.mark.parametrize("step", ["run: make", "{echo a: b}", "echo a:\n      b: c", "echo a: b\n    c: d"])
def test_another_wrong_mapping_is_not_taken_for_a_script(step: str):
    assert not any("by the colon" in said for said in messages(f"name: x\nsteps:\n  - {step}\n"))


def test_steps_are_limited():
    assert len(parse("name: x\nsteps:\n" + "- ls\n" * MAX_STEPS).steps) == MAX_STEPS
    expected = f"line 3, column 1: there are {MAX_STEPS + 1} steps; at most {MAX_STEPS} can be run"
    assert message("name: x\nsteps:\n" + "- ls\n" * (MAX_STEPS + 1)) == expected


def test_all_problems_are_told_in_the_order_of_the_text():
    text = (
        "brnach: main\ntimeout: soon\nenv: {1: a, B: [c]}\n"
        "steps:\n  - {type: fish, contnet: ls}\n  - 5\nname: x\n"
    )
    assert messages(text) == [
        "line 1, column 1: unknown key 'brnach', did you mean 'branch'?",
        "line 2, column 10: 'soon' is not a duration; write one like 90s, 30m or 1h30m",
        "line 3, column 7: '1' is not a variable name; use letters, digits and _, but no digit first",
        "line 3, column 16: 'B' must be text, not a list; put text in quotes",
        "line 5, column 12: unknown step type 'fish'; use bash or sh",
        "line 5, column 18: unknown key 'contnet', did you mean 'content'?",
        "line 6, column 5: a step must be text, not a number; put it in quotes",
    ]
    assert [problem.field for problem in problems(text)] == [
        "brnach", "timeout", "env.1", "env.B", "steps[0].type", "steps[0].contnet", "steps[1]",
    ]  # fmt: skip


def test_nobody_is_told_more_problems_than_he_can_read():
    told = messages(SMALLEST + "".join(f"k{i}: 1\n" for i in range(900)))
    assert len(told) == MAX_PROBLEMS
    assert told[-1] == f"line {MAX_PROBLEMS + 2}, column 1: unknown key 'k{MAX_PROBLEMS - 1}'"
