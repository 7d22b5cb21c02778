"""Patterns of files and branches: what they match, as git does where both know one, and at what cost."""

from __future__ import annotations

import random
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rapidflow_web.pipeline.patterns import (
    MAX_PATTERN,
    MAX_PATTERNS,
    MOST_WORK,
    Patterns,
    check_pattern,
    expression,
)


def fits(value: str, *patterns: str) -> bool:
    """Whether a value fits a list of patterns, all of them valid."""
    return Patterns(tuple(map(check_pattern, patterns))).fit(value)


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("main", ["main"], ["Main", "main2", "a/main", "mai", ""]),
        ("release/*", ["release/1", "release/"], ["release", "release/1/2", "releases/1"]),
        ("release/**", ["release/1", "release/1/2"], ["release", "x/release/1"]),
        ("*", ["main", ""], ["a/b"]),
        ("**", ["main", "a/b", "a/b/c", ""], []),
        ("**/*.md", ["README.md", "docs/a.md", "docs/b/a.md"], ["README.md/x", "a.txt", "amd"]),
        ("src/**/test/*.py", ["src/test/a.py", "src/a/b/test/a.py"], ["src/xtest/a.py", "src/test/a/b.py"]),
        ("**.js", ["a.js", "a/b.js"], ["a.jsx"]),
        ("v**1", ["v1", "v/a/1"], ["v2"]),
        ("***", ["a/b"], []),
        ("v?", ["v1", "vé", "v😀"], ["v", "v12", "v/"]),
        ("v[0-9].*", ["v1.2"], ["va.2", "v12.3"]),
        ("[!a-c]x", ["dx", "ßx"], ["ax", "/x", "x"]),
        ("[^a-c]x", ["dx"], ["bx"]),
        ("[]a]", ["]", "a"], ["b"]),
        ("[!]a]", ["b"], ["]", "a"]),
        ("[a-]", ["a", "-"], ["b"]),
        ("[.-0]", [".", "0"], ["/", "1"]),
        (r"[\]\-]", ["]", "-"], ["\\"]),
        (r"\*", ["*"], ["a"]),
        (r"\!a", ["!a"], ["a"]),
        (r"\{a\}", ["{a}"], ["a"]),
        ("a+b.c(d)|^$", ["a+b.c(d)|^$"], ["aab.c(d)"]),
        ("größe/日本", ["größe/日本"], ["größe/日"]),
        ("*.txt", ["a\nb.txt"], []),
    ],
)
def test_pattern_matches_the_whole_value(pattern: str, matching: list[str], others: list[str]):
    assert [value for value in [*matching, *others] if fits(value, pattern)] == matching


@pytest.mark.parametrize(
    ("patterns", "matching", "others"),
    [
        (["src/**", "!**/*.md"], ["src/a.py"], ["src/a.md", "README.md", "a.py"]),
        (["**", "!docs/**", "docs/api/**"], ["a", "docs/api/x"], ["docs/a"]),
        (["a", "!a", "a"], ["a"], ["b"]),
        (["a*", "!ab", "!ac"], ["aa"], ["ab", "ac", "b"]),
    ],
)
def test_last_pattern_that_matches_decides(patterns: list[str], matching: list[str], others: list[str]):
    assert [value for value in [*matching, *others] if fits(value, *patterns)] == matching


def test_name_that_is_not_unicode_is_compared_as_shown():
    name = b"src/\xff.py".decode("utf-8", "surrogateescape")
    assert fits(name, "src/*.py") and not fits(name, "docs/**")


@pytest.mark.parametrize(
    ("pattern", "sentence"),
    [
        ("", "a pattern must not be empty; '**' fits everything"),
        ("!", "a pattern must not be empty; '**' fits everything"),
        ("a" * (MAX_PATTERN + 1), "the pattern has 201 characters; at most 200 are taken"),
        ("a\u202eb", r"the pattern 'a\u202eb' has a character that can't be seen"),
        ("{a,b}", r"braces mean nothing here; write a pattern for each, or '\{' for a brace"),
        ("a\\", r"a pattern can't end in '\'; write '\\' for the character"),
        ("[a", r"a '[' is not closed by ']'; write '\[' for the character"),
        ("[", r"a '[' is not closed by ']'; write '\[' for the character"),
        ("[]", r"a '[' is not closed by ']'; write '\[' for the character"),
        ("[a\\", r"a '[' is not closed by ']'; write '\[' for the character"),
        ("[z-a]", "the range 'z-a' in a character class is empty"),
        ("[/]", "a character class can't have '/', which only '**' passes over"),
        ("[[:alpha:]]", "a character class has no names like '[:alpha:]' here; write a-zA-Z"),
    ],
)
def test_wrong_pattern_is_refused_with_what_to_write(pattern: str, sentence: str):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        check_pattern(pattern)


FILES = [
    "a", "b", "ab", "ba", "a.md", "b.md", "a/a", "a/b", "a/ab", "a/b.md", "b/a", "b/b", "a/a/a", "a/a/b",
    "a/b/a", "a/b/b.md", "b/a/a/b", "b/b/b/b.md", "a-b", "-", "a/-",
]  # fmt: skip


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with `FILES`; a name that is also a folder is spelt with a dot at its end."""
    folder = tmp_path_factory.mktemp("tree")
    subprocess.run(["git", "init", "-q", folder], check=True)
    lines = [f"100644 {'e69de29bb2d1d6434b8b29ae775ad8c2e48c5391'} 0\t{name}\n" for name in _files()]
    subprocess.run(["git", "update-index", "--index-info"], cwd=folder, input="".join(lines), text=True)
    return folder


def _files() -> list[str]:
    folders = {name[:at] for name in FILES for at, letter in enumerate(name) if letter == "/"}
    return [name for name in FILES if name not in folders]


def _random_patterns() -> Iterator[str]:
    """Patterns with a wildcard in which `**` is always a whole part, the only kind that git knows."""
    chance = random.Random(4)
    parts = ["a", "b", "*", "?", "[ab]", "[!b]", "*b", "a*", "*.md", "**", "**", "?*", "[a-]", "*[!a]*", "-"]
    count = 0
    while count < 250:
        pattern = "/".join(chance.choices(parts, k=chance.randint(1, 4)))
        if re.search(r"[*?\[]", pattern):
            count += 1
            yield pattern


def test_patterns_match_what_they_match_in_git(tree: Path):
    differing = {
        pattern: (found, ours)
        for pattern in _random_patterns()
        if (found := _git_finds(tree, pattern)) != (ours := [f for f in sorted(_files()) if fits(f, pattern)])
    }
    assert differing == {}


def _git_finds(tree: Path, pattern: str) -> list[str]:
    command = ["git", "ls-files", "-z", "--", f":(glob){pattern}"]
    listed = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=True).stdout
    return sorted(listed.split("\0")[:-1])


@pytest.mark.parametrize(
    "pattern",
    ["*a" * 99 + "b", "**a" * 66 + "b", "?*" * 99 + "b", "*a" + "?" * 190 + "b", "*[!b]" * 39 + "b"],
)
def test_value_that_a_backtracking_engine_never_ends_with_is_answered(pattern: str):
    assert not fits("a" * 4096, pattern)
    assert not fits("".join(random.Random(1).choices("ab", k=4096)) + "/", pattern)


def test_more_values_than_can_be_compared_fit():
    looked_at = 0

    def values() -> Iterator[str]:
        nonlocal looked_at
        while True:
            looked_at += 1
            yield "x" * 1000

    patterns = Patterns(tuple(f"{number:0>200}" for number in range(MAX_PATTERNS)))
    assert patterns.fit_any(values())
    assert looked_at == MOST_WORK // (MAX_PATTERN * MAX_PATTERNS * 1000) + 1


@given(st.text(alphabet="ab/*?[]!^-\\{.é", max_size=30), st.text(alphabet="ab/]-.é", max_size=30))
def test_any_text_is_a_pattern_or_refused_in_one_sentence(pattern: str, value: str):
    try:
        check_pattern(pattern)
    except ValueError as error:
        assert len(str(error)) < 200
        return
    # What it becomes has one character class or literal for each character, and no more.
    assert len(expression(pattern)) <= 10 * len(pattern) + 10
    assert Patterns((pattern,)).fit(value) in (True, False)
    assert fits(value, "**", "!" + pattern) is not fits(value, pattern) or pattern.startswith("!")
