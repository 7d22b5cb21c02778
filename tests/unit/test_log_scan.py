"""What is found in a log: lines that match, groups, the first error."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rapidflow_web.logs import scan
from rapidflow_web.logs.scan import outline, search


def found(log: bytes, text: str, *, case: bool = False, regex: bool = False) -> list[int]:
    return search(log, text, case, regex)["lines"]


def test_lines_are_found_by_text_whatever_its_case_unless_it_matters():
    log = b"one\nTwo two\nthree\ntwo"
    assert found(log, "two") == [1, 3]
    assert found(log, "Two", case=True) == [1]
    assert found(log, "four") == []


def test_what_is_searched_is_what_a_reader_sees():
    log = b"a \x1b[31mred\x1b[0m \x1b]8;;http://x\x07link\x1b]8;;\x07 word\n\x1b[1mr\x1b[0med\n"
    assert found(log, "red link word") == [0]
    assert found(log, "red") == [0, 1]
    assert found(log, "31m") == []


def test_what_was_written_over_is_not_found():
    log = b"first\r\nprogress 10%\rprogress 99%\rdone\n"
    assert found(log, "^first$", regex=True) == [0]
    assert found(log, "^done$", regex=True) == [1]
    assert found(log, "progress") == []


def test_coloured_logs_of_some_size_are_searched():
    line = b"\x1b[32m%s\x1b[0m\n" % (b"x" * 2000)
    assert found(line * 2000 + b"needle\n", "needle") == [2000]


def test_text_beyond_ascii_is_found_whatever_its_case():
    assert found("grün\nGRÜN\ngrau\n".encode(), "Grün") == [0, 1]
    assert found(b"\xff\xfe broken\n", "broken") == [0]


def test_a_regular_expression_matches_within_single_lines():
    log = b"ab\ncd\nab cd\n\n"
    assert found(log, "^ab$", regex=True) == [0]
    assert found(log, r"b\s+c", regex=True) == [2]
    assert found(log, "^$", regex=True) == [3]
    with pytest.raises(re.error):
        found(log, "(", regex=True)


def test_of_a_line_without_end_the_beginning_is_searched(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(scan, "_BLOCK", 10)
    monkeypatch.setattr(scan, "_LONGEST_SEARCHED", 100)
    log = b"one\n" + b"x" * 90 + b"near" + b"x" * 90 + b"far\nlast\n" + b"y" * 200 + b"end"
    assert found(log, "near") == [1]
    assert found(log, "far") == []
    assert found(log, "last") == [2]
    assert found(log, "y$", regex=True) == []
    assert found(log, "^y", regex=True) == [3]
    assert found(log, "", regex=True) == [0, 1, 2, 3]


def test_a_search_that_nobody_waits_for_ends_by_itself(tmp_path: Path):
    (tmp_path / "log").write_bytes(b"a" * 40 + b"b\n")
    request = {"seconds": 1, "search": {"text": "(a|a)+c", "case": True, "regex": True}}
    done = subprocess.run(
        [sys.executable, "-I", "-S", scan.__file__, tmp_path / "log", "42"],
        input=json.dumps(request).encode(),
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == -signal.SIGALRM


def test_lines_keep_their_numbers_over_more_than_one_block_and_over_very_long_lines():
    lines = [b"x" * 3_000_000 if number == 5 else b"line %d" % number for number in range(200_000)]
    log = b"\n".join(lines) + b"\n"
    assert found(log, "line 199999") == [199_999]
    assert found(log, "line 4$", regex=True) == [4]
    answer = search(log, "line", False, False)
    assert (answer["count"], len(answer["lines"]), answer["complete"]) == (199_999, 10_000, False)


def groups(log: bytes) -> list[tuple[int, int, str, bool]]:
    made = outline(log, [[0, len(log)]], None)["groups"]
    return [(group["line"], group["end"], group["title"], group["closed"]) for group in made]


def test_groups_of_github_end_at_their_mark_or_with_the_step():
    log = b"a\n::group::First\nb\n::endgroup::\nc\n::group::Open\nd\n"
    assert groups(log) == [(1, 3, "First", False), (5, 6, "Open", False)]
    assert groups(b"##[group]Azure\nx\n##[endgroup]\n") == [(0, 2, "Azure", False)]


def test_groups_within_groups_end_before_those_around_them():
    log = b"::group::A\n::group::B\nx\n::endgroup::\ny\n::endgroup::\n"
    assert groups(log) == [(0, 5, "A", False), (1, 3, "B", False)]


def test_sections_of_gitlab_have_names_and_may_be_folded():
    log = (
        b"\x1b[0Ksection_start:1560896352:setup[collapsed=true]\r\x1b[0KPrepare \x1b[1mit\x1b[0m\nx\n"
        b"\x1b[0Ksection_end:1560896353:setup\r\x1b[0K\nafter\n"
    )
    assert groups(log) == [(0, 2, "Prepare it", True)]


def test_groups_of_buildkite_end_where_the_next_begins():
    log = b"--- Install\na\nb\n+++ Test\nc\n~~~ Clean\nd\n"
    assert groups(log) == [(0, 2, "Install", True), (3, 4, "Test", False), (5, 6, "Clean", True)]


def test_a_diff_has_no_groups():
    assert groups(b"diff\n--- a/file\n+++ b/file\n@@ -1 +1 @@\n---\n") == []


def test_groups_stay_within_their_step():
    log = b"::group::A\nx\n\n=== Step 2 (bash) ===\ny\n"
    made = outline(log, [[0, 13], [36, 38]], None)["groups"]
    assert [(group["line"], group["end"]) for group in made] == [(0, 1)]


def test_groups_that_are_never_closed_are_no_burden():
    assert len(groups(b"::group::again\nx\n" * 20_000)) == 100


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ("============ test session starts ============\ncollected 2 items\n\ntest_a.py .F\n\n"
         "=== FAILURES ===\n___ test_b ___\n\n    def test_b():\n>       assert 1 == 2\n"
         "E       assert 1 == 2\n\n"
         "test_a.py:5: AssertionError\n=== short test summary info ===\nFAILED test_a.py::test_b\n",
         "E       assert 1 == 2"),
        ("=== RUN   TestA\n--- FAIL: TestA (0.00s)\n    a_test.go:7: want 1\nFAIL\nexit status 1\n",
         "--- FAIL: TestA (0.00s)"),
        ("   Compiling x v0.1.0\nwarning: unused variable\nerror[E0308]: mismatched types\n --> a.rs:2:5\n",
         "error[E0308]: mismatched types"),
        ("cc -c a.c\na.c: In function 'main':\na.c:3:5: error: 'x' undeclared\nmake: *** [a.o] Error 1\n",
         "a.c:3:5: error: 'x' undeclared"),
        ("src/a.ts(3,7): error TS2322: Type 'string' is not assignable\nFound 1 error.\n",
         "src/a.ts(3,7): error TS2322: Type 'string' is not assignable"),
        (" PASS  a.test.js\n FAIL  b.test.js\n  x adds\n", " FAIL  b.test.js"),
        ("[INFO] Scanning\n[ERROR] COMPILATION ERROR :\n[ERROR] /a/B.java:[3,8] missing\n",
         "[ERROR] COMPILATION ERROR :"),
        ("npm warn old\nnpm ERR! code ELIFECYCLE\n", "npm ERR! code ELIFECYCLE"),
        ("go\nbash: line 3: frobnicate: command not found\n", "bash: line 3: frobnicate: command not found"),
        ("Traceback (most recent call last):\n  File \"a.py\", line 1\nValueError: no\n",
         "Traceback (most recent call last):"),
        ("make[1]: Entering\nmake: *** No rule to make target 'x'.  Stop.\n",
         "make: *** No rule to make target 'x'.  Stop."),
        ("ok 1 - a\nnot ok 2 - b\n", "not ok 2 - b"),
        ("0 errors, 3 warnings\nno errors found\nusing --error-limit=3\nlast words\n\n", "last words"),
        ("\x1b[31ma.c:1:1: error: red\x1b[0m\n", "\x1b[31ma.c:1:1: error: red\x1b[0m"),
        ("it failed to warm up\nthen fatal: repository not there\nfatal: repository not there\n",
         "fatal: repository not there"),
    ],
)  # fmt: skip
def test_the_first_error_is_the_line_that_a_person_would_look_for(log: str, expected: str):
    data = b"before\n" + log.encode()
    error = outline(data, [[7, len(data)]], [7, len(data)])["error"]
    line = data.split(b"\n")[error["line"]].decode()
    assert line == expected
    assert data[error["offset"] :].startswith(expected.encode())


def test_a_step_that_printed_nothing_has_no_error_line():
    assert outline(b"=== Step 1 (bash) ===\n\n", [[22, 22]], [22, 22])["error"] is None
