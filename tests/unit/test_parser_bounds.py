"""Texts that are no pipeline at all, by accident or on purpose: always an answer, and never a long one."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rapidflow_web.errors import Invalid
from rapidflow_web.pipeline.definition import ParsedPipeline
from rapidflow_web.pipeline.document import MAX_DEPTH, MAX_NODES, MAX_TEXT
from rapidflow_web.pipeline.parser import parse

PIPELINE = """\
name: Go Build Pipeline
repo_name: https://github.com/user/repo
branch: main
folder: ./my-go-app
version: "1.21"
expose_ports: false
env: &env {CGO_ENABLED: "0", A: 1.0, B: ~}
timeout: 1h30m
steps:
  - type: bash
    name: 'download'
    content: |
      go mod download
    files: {config.json: '{"port": 3000}', a/b: "\\x41"}
  - &last go build -o app .
  - *last
"""
LARGE = 500_000
YAML = "tag:yaml.org,2002:"
APOSTROPHE = "'"


def quote(character: str) -> str:
    """What is said of a value that begins with a sign of YAML's."""
    return f"put all of a value that begins with {character} in quotes, or write it below '|'"


def message(text: str) -> str:
    """The one thing that is said of a text that is not a pipeline."""
    with pytest.raises(Invalid) as caught:
        parse(text)
    (only,) = caught.value.problems
    return only.message


def with_line(line: str) -> str:
    """A pipeline with one more line, its third."""
    return f"name: x\nsteps: [ls]\n{line}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: 'x",
         f"line 1, column 9: this is not YAML: found unexpected end of stream; {quote(APOSTROPHE)}"),
        ("name: x\n  steps: [ls]",
         "line 2, column 8: this is not YAML: mapping values are not allowed in this context; "
         "put all of a value with ': ' in it in quotes, or write it below '|'"),
        ("name: x\nsteps: [ls",
         f"line 3, column 1: this is not YAML: did not find expected ',' or ']'; {quote('[')}"),
        ("name: x\nsteps:\n\t- ls", "line 3, column 1: this is not YAML: a tab can't indent; use spaces"),
        ("name: @x",
         f"line 1, column 7: this is not YAML: found character that cannot start any token; {quote('@')}"),
        ("name: *x", "line 1, column 7: the alias '*x' has no anchor before it"),
        ("name: &x [*x]", "line 1, column 11: the alias '*x' is inside its own anchor"),
        ("- &x a\n- &x b", "line 2, column 3: the anchor '&x' is there twice"),
        ("%YAML 3.0\n---\nname: x", "line 1, column 1: this is not YAML: found incompatible YAML document"),
        ("name: !!python/object/apply:os.system ['id']",
         f"line 1, column 7: the tag '{YAML}python/object/apply:os.system' means nothing here; leave it out, "
         "or put all of a value that begins with '!' in quotes"),
        ("!!python/name:os.system name: x",
         f"line 1, column 1: the tag '{YAML}python/name:os.system' means nothing here; leave it out, "
         "or put all of a value that begins with '!' in quotes"),
        ("%TAG ! tag:yaml.org,2002:python/\n---\nname: !name:os.system x",
         "line 1, column 1: the directive '%TAG' means nothing here; leave it out"),
        ("name: !secret x", "line 1, column 7: the tag '!secret' means nothing here; leave it out, "
         "or put all of a value that begins with '!' in quotes"),
        ("name: !!binary aGk=",
         f"line 1, column 7: the tag '{YAML}binary' means nothing here; leave it out, "
         "or put all of a value that begins with '!' in quotes"),
    ],
)  # fmt: skip
def test_what_is_not_plain_yaml_is_refused_at_its_place(text: str, expected: str):
    assert message(text) == expected


@pytest.mark.parametrize("separator", ["---", "--- # again", "...\n---"])
def test_a_second_document_is_refused(separator: str):
    expected = "a second document begins here; a pipeline is a single one"
    line = 3 + separator.count("\n")
    assert message(with_line(f"{separator}\nname: y")) == f"line {line}, column 1: {expected}"


def test_tags_of_yaml_itself_are_taken():
    assert parse("name: !!str 7\nsteps: !!seq [! ls]\nenv: !!map {A: !!int 7}").env == {"A": "7"}


@pytest.mark.parametrize(
    ("character", "code"),
    [("\0", "0000"), ("\a", "0007"), ("\x1b", "001B"), ("\x7f", "007F"), ("\x9b", "009B"), ("\ud800", "D800"),
     ("\udcff", "DCFF"), ("\ufffe", "FFFE")],
)  # fmt: skip
def test_a_character_that_yaml_does_not_take_is_named_with_its_place(character: str, code: str):
    expected = f"this is not YAML: the character U+{code} is not allowed"
    assert message(f"{character}name: x") == f"line 1, column 1: {expected}"
    assert message(f"name: ü\r\nsteps: [ls]\n\n  a{character}b") == f"line 4, column 4: {expected}"


def test_such_a_character_may_be_written_as_an_escape():
    assert parse('name: x\nsteps: ["printf \\e[0m"]').steps[0].content == "printf \x1b[0m"
    assert "invalid Unicode character escape" in message('name: "\\ud800"\nsteps: [ls]')


def test_json_with_an_escaped_emoji_is_refused_with_what_to_write():
    said = message(json.dumps({"name": "x", "steps": ["echo \U0001f600"]}))
    assert said.endswith("as they do in JSON; write \U0001f600 itself, or \\U0001F600")
    assert parse(json.dumps({"name": "\U0001f600", "steps": ["ls"]}, ensure_ascii=False)).name == "\U0001f600"
    assert parse('name: "\\U0001F600"\nsteps: [ls]').name == "\U0001f600"


@pytest.mark.parametrize(
    "text",
    ["\ufeffname: x\nsteps: [ls]", "name: x\r\nsteps: [ls]\r\n", "%YAML 1.2\n---\nname: x\nsteps: [ls]"],
)
def test_what_editors_put_around_a_text_does_no_harm(text: str):
    assert parse(text).name == "x"


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? ", "{? ", "[[{a: "])
def test_deep_nesting_is_refused(opening: str):
    assert f"this is nested more than {MAX_DEPTH} levels deep" in message(opening * (LARGE // len(opening)))


def test_aliases_count_for_all_that_they_stand_for():
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    for i in range(60):
        bomb += f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]\n"
    assert f"this has more than {MAX_NODES} values, aliases resolved" in message(bomb)
    wide = "a: &a [x, x, x]\nb: [" + "*a," * (MAX_NODES // 4 + 1) + "]"
    assert f"this has more than {MAX_NODES} values, aliases resolved" in message(wide)


@pytest.mark.parametrize(
    ("written", "field"),
    [
        ("x" * 100_000 + " # y", "steps"),
        ("x" * 100_000 + " # y", "env"),
        ('"' + "\\\n    " * 20_000 + 'x"', "steps"),
    ],
    ids=["steps", "env", "written long and short in value"],
)
def test_aliases_count_for_all_characters_that_they_stand_for(written: str, field: str):
    # Each is read, and each step stored with every build; the last time that took half a minute.
    line = {"steps": "  - {}\n", "env": "  A{}: {}\n"}[field]
    rest = "steps: [ls]\n" if field == "env" else ""

    def text(count: int) -> str:
        values = [f"&a {written}", *["*a"] * count]
        lines = (
            line.format(*([index, value] if field == "env" else [value]))
            for index, value in enumerate(values)
        )
        return f"name: x\n{rest}{field}:\n{''.join(lines)}"

    assert f"this has more than {MAX_TEXT} characters, aliases resolved" in message(text(100))
    assert len(parse(text(3)).steps) == (4 if field == "steps" else 1)


@pytest.mark.parametrize(
    "text",
    [
        "- x\n" * (LARGE // 4),
        "".join(f"k{i}: v\n" for i in range(LARGE // 10)),
        "name: x\nsteps:\n" + "- ls\n" * (MAX_NODES - 100),
        f"name: {'n' * LARGE}",
        f'name: "{"n" * LARGE}',
        with_line(f'? "{"k" * LARGE}"\n: v'),
        with_line(f"env:\n  ? {'k' * LARGE}\n  : v"),
        with_line(f"branch: {'b/' * (LARGE // 2)}"),
        with_line(f"folder: {'f/' * (LARGE // 2)}"),
        with_line(f"repo_name: https://{'h' * LARGE}"),
        with_line(f"repo_name: {'h:' * (LARGE // 2)}"),
        with_line(f"image: {'i/' * (LARGE // 2)}"),
        with_line(f"language: {'l' * LARGE}"),
        with_line(f"version: {'v' * LARGE}"),
        with_line(f"timeout: {'1' * LARGE}"),
        f"name: x\nsteps:\n- content: ls\n  files:\n    ? {'a/' * (LARGE // 2)}b\n    : x\n",
        f"name: x\nsteps:\n- content: ls\n  type: {'t' * LARGE}\n",
        "a:" * (LARGE // 2),
        "'" * LARGE,
        "? " * (LARGE // 2),
        "[" + "," * LARGE,
        "&a " * (LARGE // 3),
        "!" * LARGE,
        "%" * LARGE,
        "\t" * LARGE,
        "# " * LARGE + "\0",
        "\n" * LARGE + "\0",
        '"' + "\\" * LARGE,
        "|" + "\n" * LARGE + "\ta",
    ],
    ids=lambda text: repr(text[-20:]),
)
def test_a_huge_text_is_refused_in_one_short_line(text: str):
    with pytest.raises(Invalid) as caught:
        parse(text)
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()


def test_many_files_in_deep_folders_are_taken():
    names = [f"{'folder/' * 20}{i}" for i in range(1000)]
    files = "".join(f"    {name}: x\n" for name in names)
    assert list(parse(f"name: x\nsteps:\n- content: ls\n  files:\n{files}").steps[0].files) == names


def test_a_huge_script_is_taken():
    script = "echo hello\n" * (LARGE // 16)
    indented = "".join(f"    {line}\n" for line in script.splitlines())
    assert parse(f"name: x\nsteps:\n  - |\n{indented}").steps[0].content == script


def outcome(text: str) -> ParsedPipeline | Invalid:
    """What comes of any text whatsoever: anything but `Invalid` fails the test."""
    try:
        return parse(text)
    except Invalid as error:
        assert error.problems
        for problem in error.problems:
            assert problem.message
            assert (problem.line is None) == (problem.column is None)
            assert problem.line is None or problem.message.startswith(
                f"line {problem.line}, column {problem.column}: "
            )
        places = [(problem.line or 0, problem.column or 0) for problem in error.problems]
        assert places == sorted(places)
        return error


PATIENT = settings(deadline=timedelta(seconds=20), max_examples=300)
"""A deadline for what would take for ever, not for a machine that is busy."""

SIGNS = st.sampled_from(
    [
        "\n", "\n  ", "\n    ", "\r\n", "\t", " ", ": ", "- ", "? ", ", ", "# ", "[", "]", "{", "}", "&a ",
        "*a", "!", "!!", "|", ">", "'", '"', "%", "---\n", "...\n", "~", "null", "true", "0x1", "1.20",
        "<<: ", "name", "steps", "stpes", "content", "type", "files", "env", "timeout", "branch", "image",
        "version", "language", "folder", "repo_name", "\0", "\ud800", "\ufeff", "\u2028",
    ]
)  # fmt: skip


@given(st.text())
@example("\ud800")
@example("\ufeff")
@PATIENT
def test_any_text_gives_a_definition_or_problems(text: str):
    outcome(text)


@given(st.lists(SIGNS | st.text(max_size=3), max_size=60).map("".join))
@PATIENT
def test_anything_that_looks_like_yaml_gives_a_definition_or_problems(text: str):
    outcome(text)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A pipeline with some parts cut out, doubled, moved or replaced."""
    text = PIPELINE
    for _ in range(draw(st.integers(1, 4))):
        begin = draw(st.integers(0, len(text)))
        end = min(len(text), begin + draw(st.integers(0, 25)))
        part = draw(st.sampled_from(["", text[begin:end] * 2]) | SIGNS | st.text(max_size=5))
        text = text[:begin] + part + text[end:]
    return text


@given(mutated())
@example(PIPELINE)
@PATIENT
def test_a_mutated_pipeline_gives_a_definition_or_problems(text: str):
    outcome(text)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | SIGNS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(SIGNS | st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(SIGNS | st.text(max_size=4), VALUES, max_size=6))
@PATIENT
def test_a_pipeline_of_wrong_values_gives_a_definition_or_problems(values: dict[str, object]):
    # Python's escapes for text are YAML's, and its way to write lists and mappings is JSON's.
    outcome(repr(values).replace("None", "null"))


def test_the_pipeline_that_is_mutated_is_a_valid_one():
    assert isinstance(outcome(PIPELINE), ParsedPipeline)
