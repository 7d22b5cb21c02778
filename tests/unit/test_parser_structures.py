"""YAML of every shape, with its anchors, aliases, merge keys and tags: a definition, or where it is wrong."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rapidflow_web.errors import Invalid
from rapidflow_web.pipeline.definition import ParsedPipeline
from rapidflow_web.pipeline.parser import parse

PATIENT = settings(deadline=timedelta(seconds=20), max_examples=300)
"""A deadline for what would take for ever, not for a machine that is busy."""

WORDS = st.sampled_from(
    [
        "name", "steps", "content", "files", "env", "secrets", "branch", "folder", "version", "image",
        "timeout", "x", "ls", "1.20", "0x1F", "0o17", "1_000", "9" * 400, "-" + "9" * 400, "1e999", ".inf",
        ".nan", "~", "null", "yes", "2001-01-01", "190:20:30", "=", "''", '"\\0"', '"\\ud800"', '"\\x41"',
        "'it''s'", "<<", "? x", "", "ü", "\\", "%", "@", "`", "|", ">", "*", "&", "!", "---", "...", "#",
        "\t", "\u2028", "\x85",
    ]
)  # fmt: skip
ANCHORS = st.sampled_from(["a", "b", "c"])
TAGS = st.sampled_from(
    ["!!str", "!!int", "!!float", "!!bool", "!!null", "!!map", "!!seq", "!!merge", "!!set", "!!omap",
     "!!binary", "!!timestamp", "!!python/object/apply:os.system", "!", "!x", "!<tag:yaml.org,2002:str>",
     "!!", "!a!b"]
)  # fmt: skip


def decorated(text: str, tag: str | None, anchor: str | None) -> str:
    """A node with a tag and an anchor before it."""
    return " ".join(part for part in (tag, f"&{anchor}" if anchor else None, text) if part)


def node(text: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds(decorated, text, st.none() | TAGS, st.none() | ANCHORS)


def inside(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Lists and mappings of what is inside, written with brackets."""
    pairs = st.builds("{}: {}".format, inner | WORDS, inner)
    merged = st.builds("<<: {}".format, inner)
    lists = st.lists(inner, max_size=4).map(lambda items: f"[{', '.join(items)}]")
    mappings = st.lists(pairs | merged, max_size=4).map(lambda items: f"{{{', '.join(items)}}}")
    return node(lists | mappings)


NODES = st.recursive(node(WORDS) | ANCHORS.map(lambda name: f"*{name}"), inside, max_leaves=25)
KEYS = st.sampled_from(
    ["name", "steps", "env", "files", "branch", "timeout", "expose_ports", "memory", "<<", "x"]
)


def outcome(text: str) -> ParsedPipeline | Invalid:
    """What comes of a text: anything but `Invalid`, with places that are in the text, fails the test."""
    try:
        return parse(text)
    except Invalid as error:
        lines = re.split("\r\n|[\r\n\x85\u2028\u2029]", text)
        assert error.problems
        for problem in error.problems:
            assert problem.message.isprintable()
            if problem.line is None or problem.column is None:
                assert problem.message.startswith("the pipeline is empty")
                continue
            assert problem.message.startswith(f"line {problem.line}, column {problem.column}: ")
            assert 1 <= problem.line <= len(lines) + 1 and problem.column >= 1
        return error


@given(NODES)
@example("&a [*a]")
@example("{<<: &a {<<: *a}}")
@example("&a {*a : *a}")
@example('{"\\0\\e[2J": name}')
@PATIENT
def test_any_structure_gives_a_definition_or_problems_with_their_places(text: str):
    outcome(text)


def test_what_a_text_shows_in_its_problems_moves_no_cursor():
    found = outcome('name: x\nsteps: [ls]\n"\\e[2J\\u202e": 1\n')
    assert str(found) == "line 3, column 1: unknown key '\\x1b[2J\\u202e'"


@given(st.lists(st.tuples(KEYS, NODES), min_size=1, max_size=6))
@PATIENT
def test_any_values_of_the_keys_give_a_definition_or_problems_with_their_places(pairs: list[tuple[str, str]]):
    outcome("".join(f"{key}: {value}\n" for key, value in pairs))


@given(NODES)
@PATIENT
def test_a_pipeline_in_which_one_value_is_odd_gives_a_definition_or_problems(text: str):
    outcome(f"name: x\nenv: &env {{A: 1}}\nsteps:\n- ls\n- content: ls\n  files: {text}\n")
    outcome(f"name: x\nbase: &a {{A: 1}}\nenv: {{<<: *a, B: {text}}}\nsteps: [ls]\n")


def test_merge_keys_are_no_part_of_the_language_and_that_is_said_at_their_place():
    found = outcome("name: x\nenv: &a {A: 1}\nsteps:\n- <<: *a\n  content: ls\n")
    assert isinstance(found, Invalid)
    assert [(problem.line, problem.column) for problem in found.problems] == [(4, 3)]


BOMBS = {
    "laughs": "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 200)),
    "merged laughs": "a0: &a0 {x: 1}\n" + "".join(
        f"a{i}: &a{i} {{<<: [{','.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 200)),
    "keys that are aliases": "&a [" + "x," * 9000 + "]: {" + "*a : *a," * 50_000 + "}",
    "anchors": "".join(f"&a{i} x{i}: *a{i}\n" for i in range(100_000)),
    "deep": "[" * 1_000_000,
    "deep mappings": "{a: " * 500_000,
    "deep blocks": "".join(f"{' ' * i}a:\n" for i in range(1400)),
    "deep keys": "? " * 500_000,
    "a number": "timeout: " + "9" * 2_000_000,
    "numbers": "version: [" + "9" * 1000 + ",9" * 500_000 + "]",
    "a tag": "name: !<" + "x" * 2_000_000 + "> x",
    "tags": "%TAG ! tag:x,2000:\n" * 100_000,
    "an anchor": "name: &" + "x" * 2_000_000 + " x",
    "escapes": 'name: "' + "\\U0001F600" * 200_000 + '"',
    "folds": "name: >\n" + "  x\n\n" * 400_000,
    "quotes": "name: '" + "''" * 1_000_000 + "'",
    "spaces": "name:" + " " * 2_000_000 + "x",
    "comments": "#" + "x" * 2_000_000 + "\nname",
    "documents": "---\n" * 500_000,
    "directives": "%YAML 1.1\n" * 200_000,
    "unprintable": "\n" * 2_000_000 + "\x01",
}  # fmt: skip
PARSE_IT = """
import json, resource, sys
from rapidflow_web.errors import Invalid
from rapidflow_web.pipeline.parser import parse
# A gibibyte, and a minute of work: what would take for ever is killed.
resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
try:
    parse(json.load(sys.stdin))
except Invalid as error:
    print(error)
"""


@pytest.mark.parametrize("bomb", BOMBS)
def test_no_text_takes_much_memory_or_time_to_be_refused(bomb: str):
    done = subprocess.run(
        [sys.executable, "-c", PARSE_IT], input=json.dumps(BOMBS[bomb]), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert re.match(r"line \d+, column \d+: .", done.stdout), done.stdout[:300]
    assert len(done.stdout) < 400
