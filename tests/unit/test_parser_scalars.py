"""Scripts and values are what their author wrote, whatever YAML makes of them, or they are refused."""

from __future__ import annotations

import pytest

from rapidflow_web.errors import Invalid
from rapidflow_web.pipeline.build_reader import MAX_SECRETS
from rapidflow_web.pipeline.parser import parse

QUOTED = "in quotes, or write it below '|'"
LINES = "YAML joins these lines into one; write a value of several lines below '|', or in one line"
COMMENT = "YAML takes what follows ' #' for a comment, with {} left open before it; "
BANG = f"put all of a value that begins with '!' {QUOTED}"
BEGINS = f"put all of a value that begins with {{}} {QUOTED}"


@pytest.mark.parametrize(
    ("written", "script"),
    [
        ("! grep -q TODO notes.txt", "! grep -q TODO notes.txt"),
        ("!   grep -q 'a  b' c", "!   grep -q 'a  b' c"),
        ("! make # must fail", "! make"),
        ("! grep -q TODO notes.txt  ", "! grep -q TODO notes.txt"),
        ("{content: ! grep x}", "! grep x"),
        ("'! grep x'", "! grep x"),
        ("make test # fast", "make test"),
        ("make test\t# fast", "make test"),
        ("echo 'a' \"b\" # it's", "echo 'a' \"b\""),
        ("echo a#b", "echo a#b"),
        ("echo $(date) # now", "echo $(date)"),
        ("case x in x) echo y;; esac # a", "case x in x) echo y;; esac"),
        ("echo it\\'s # x", "echo it\\'s"),
        ("'echo \"a # b\"'", 'echo "a # b"'),
        ("echo a\tb", "echo a\tb"),
        ("~/bin/run --all", "~/bin/run --all"),
        ("./run 1>&2 | tee x > y", "./run 1>&2 | tee x > y"),
        ("-x", "-x"),
        (":", None),
        ("echo a:b http://c", "echo a:b http://c"),
        ("|\n    echo \"a # b\"\n    ! false\n", 'echo "a # b"\n! false\n'),
        ("|- # all\n    a\n    b\n", "a\nb"),
        (">\n    a\n    b\n", "a b\n"),
        (">-\n    a\n    b\n", "a b"),
        ("'a\n\n    b'", "a\nb"),
        ('"a \\\n    b"', "a b"),
        ('"a\\nb"', "a\nb"),
        ("!!str make", "make"),
        ("&a make\n  - *a", "make"),
        ("# a comment\n    make", "make"),
    ],
)  # fmt: skip
def test_a_script_is_what_its_author_wrote(written: str, script: str | None):
    text = f"name: x\nsteps:\n  - {written}\n"
    if script is None:
        with pytest.raises(Invalid):
            parse(text)
    else:
        assert parse(text).steps[0].content == script
        assert parse(f"\ufeff{text}".replace("\n", "\r\n")).steps[0].content == script


@pytest.mark.parametrize(
    ("written", "place", "expected"),
    [
        ("echo a\n    echo b", "line 3, column 5", LINES),
        ("echo a\n\n    echo b", "line 3, column 5", LINES),
        ("! grep\n    x", "line 3, column 5", LINES),
        ('"echo a\n    echo b"', "line 3, column 5", LINES),
        ("'echo a\n    echo b'", "line 3, column 5", LINES),
        ('echo "a # b"', "line 3, column 5", COMMENT.format('"')),
        ("! echo 'a # b'", "line 3, column 5", COMMENT.format("'")),
        ("echo `a # b`", "line 3, column 5", COMMENT.format("`")),
        ("echo $(( 1 # 2 ))", "line 3, column 5", COMMENT.format("(")),
        ("echo ${a #b}", "line 3, column 5", COMMENT.format("(")),
        ("echo a\\ #b", "line 3, column 5", COMMENT.format("\\")),
        ("{content: echo 'a # b'\n    }", "line 3, column 15", COMMENT.format("'")),
        ('! "$x"', "line 3, column 5", BANG),
        ("! 'x'", "line 3, column 5", BANG),
        ("! |\n    x", "line 3, column 5", BANG),
        ("!<!> ls", "line 3, column 5", BANG),
        ("! [ -f x ]", "line 3, column 5", "put all of a value that begins with '!' in quotes"),
        ("! { a; }", "line 3, column 5", "put all of a value that begins with '!' in quotes"),
        ("!grep x", "line 3, column 5", "put all of a value that begins with '!' in quotes"),
        ("! [ -f x ] && y", "line 3, column 17", BEGINS.format("!")),
        ("[ -f x ]", "line 3, column 5", "put a script that begins with it in quotes"),
        ("[ -f x ] && y", "line 3, column 15", BEGINS.format("[")),
        ("{ echo a; }", "line 3, column 7", "'echo a;' has no value; put a value with a comma or braces in"),
        ('"$x" --all', "line 3, column 10", BEGINS.format('"')),
        ("'x' y", "line 3, column 9", BEGINS.format("'")),
        ("`x`", "line 3, column 5", BEGINS.format("`")),
        ("@x", "line 3, column 5", BEGINS.format("@")),
        ("%x", "line 3, column 5", BEGINS.format("%")),
        ("| grep x", "line 3, column 7", BEGINS.format("|")),
        ("> out", "line 3, column 7", BEGINS.format(">")),
        ("& x", "line 3, column 6", BEGINS.format("&")),
        ("* x", "line 3, column 6", BEGINS.format("*")),
        ("*.sh", "line 3, column 6", BEGINS.format("*")),
        ("&x make", "line 3, column 5", "no alias uses the anchor '&x'; put a value that begins with '&' in"),
        ("echo a: b", "line 3, column 5", "put quotes around all of it, or write it below 'content: |'"),
        ("010", "line 3, column 5", "must be text, not a number; put it in quotes"),
        ("true", "line 3, column 5", "must be text, not true or false; put it in quotes"),
        ("!!null ls", "line 3, column 5", "means nothing here"),
        ("echo a\x85    b", "line 3, column 11", "U+0085 ends a line in YAML alone; write it as an escape"),
        ("echo a\u2028    b", "line 3, column 11", "U+2028 ends a line in YAML alone; write it as an escape"),
        ("echo a\r    b", "line 3, column 11", "U+000D ends a line in YAML alone; write it as an escape"),
        ("a\n---\nname: y", "line 4, column 1", "a second document begins here"),
        ("a\n...\nname: y", "line 5, column 1", "did not find expected <document start>"),
    ],
)  # fmt: skip
def test_what_yaml_would_change_in_a_script_is_refused_at_its_place(written: str, place: str, expected: str):
    with pytest.raises(Invalid) as caught:
        parse(f"name: x\nsteps:\n  - {written}\n")
    assert str(caught.value).startswith(f"{place}: ")
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("written", "value"),
    [(text, text) for text in (
        "1.10", "010", "0o17", "1e3", "0x10", "12:30:45", "1_000", "yes", "No", "on", "true", "~", "null",
        "2024-01-01", "2024-01-01T10:00:00Z", ".inf", ".NaN", "=", "<<", "! b", "!", "a&b",
        "a*b", "a#b", "-a",
        "%d".replace("%", "a%"), "a, b", "a [b] {c}", "it's", 'say "a"', "a\\nb", "C:\\x", "ü", "a  b",
    )] + [
        ("3000 # the port", "3000"), ("it's # joke", "it's"), ("'a # b'", "a # b"), ("", ""), ("''", ""),
        ("!!int 0x10", "0x10"), ("|-\n    a\n    b", "a\nb"),
    ],
)  # fmt: skip
def test_a_value_of_the_environment_is_what_its_author_wrote(written: str, value: str):
    assert parse(f"name: x\nsteps: [ls]\nenv:\n  A: {written}\n  B: b\n").env == {"A": value, "B": "b"}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("env: {A: a,b}",
         "line 3, column 12: 'b' has no value; put a value with a comma or braces in quotes"),
        ("env: {A: &b c}", "line 3, column 10: no alias uses the anchor '&b'"),
        ("env:\n  A: a\n    b", f"line 4, column 6: {LINES}"),
        ('env:\n  A: say "a # b"', f"line 4, column 6: {COMMENT.format(chr(34))}"),
        ("env:\n  A: b: c", "put all of a value with ': ' in it in quotes"),
        ("env: {A: [1]}", "'A' must be text, not a list; put text in quotes"),
        ("%TAG ! tag:yaml.org,2002:",
         "line 3, column 1: the directive '%TAG' means nothing here; leave it out"),
        ("env: &a {A: b}\nb: {<<: *a}", "unknown key 'b'"),
        ("env:\n  <<: {A: b}", "line 4, column 3: '<<' is not a variable name"),
        ("env: {A: b, A: c}", "line 3, column 13: duplicate key 'A', first used in line 3"),
    ],
)  # fmt: skip
def test_what_yaml_would_change_in_a_value_is_refused_at_its_place(line: str, expected: str):
    with pytest.raises(Invalid) as caught:
        parse(f"name: x\nsteps: [ls]\n{line}\n")
    assert expected in str(caught.value)


@pytest.mark.parametrize("version", ["1.10", "010", "1e3", "0x10", "3.10 # newest"])
def test_a_version_is_what_its_author_wrote(version: str):
    assert parse(f"name: x\nsteps: [ls]\nversion: {version}\n").version == version.partition(" ")[0]


def test_what_can_be_many_is_bounded():
    for key, many in (
        ("env", "".join(f"  A{i}: 1\n" for i in range(1001))),
        ("secrets", "".join(f"- A{i}\n" for i in range(MAX_SECRETS + 1))),
        ("steps", "- ls\n" * 501),
    ):
        with pytest.raises(Invalid, match=r"at most (1000|100|500) ") as caught:
            parse(f"name: x\n{key}:\n{many}" + ("" if key == "steps" else "steps: [ls]"))
        assert len(caught.value.problems) == 1
