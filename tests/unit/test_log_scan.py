"""What is found in a log: lines that match, groups, the first error."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rapidflow_web.logs import scan
from rapidflow_web.logs import search as log_search
from rapidflow_web.logs.displayed_text import displayed
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
    # As a terminal has it, and the log viewer: what is longer stays.
    assert found(log, "^doneress 99%$", regex=True) == [1]
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
    with pytest.raises(scan.BadPattern):
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
    done = scanned(tmp_path, HARD_LINE, {"seconds": 1, "search": regex(HARD)})
    assert done.returncode in (-signal.SIGALRM, -signal.SIGXCPU, -signal.SIGKILL)


def test_a_scan_may_take_a_bounded_amount_of_memory():
    program = "from rapidflow_web.logs import scan; scan._limit(5, 1000); bytearray(400 * 2**20)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(scan.__file__).parents[2], capture_output=True
    )
    assert b"MemoryError" in done.stderr


def test_expressions_that_are_slow_elsewhere_take_time_in_the_length_of_the_log(tmp_path: Path):
    # Python's own engine would take 900 MB for the first, and for the others longer than there is time.
    for pattern in ("(?:aa?)*c", "(a|a)+c", "(x+x+)+y", "(.*)*(.*)*=", "^(([a-z])+.)+[A-Z]([a-z])+$"):
        for line in (b"a" * 3_900_000, b"x" * 3_900_000):
            done = scanned(tmp_path, line + b"\n", {"seconds": 60, "search": regex(pattern)})
            assert done.returncode == 0, (pattern, done.stderr)
            assert json.loads(done.stdout)["count"] == 0


HARD = "a[ab]{900}c"
HARD_LINE = random.Random(1).randbytes(4_000_000).translate(b"ab" * 128)
"""Takes even an engine that is never worse than linear half a minute."""


def regex(text: str) -> dict[str, Any]:
    return {"text": text, "case": True, "regex": True}


def scanned(folder: Path, log: bytes, request: dict[str, Any]) -> subprocess.CompletedProcess[bytes]:
    """How `scan.py` as a process ends."""
    (folder / "log").write_bytes(log)
    return subprocess.run(
        [sys.executable, "-I", "-S", scan.__file__, folder / "log", str(len(log))],
        input=json.dumps({**request, "packages": log_search._PACKAGES}).encode(),
        capture_output=True,
        timeout=120,
    )


def test_lines_keep_their_numbers_over_more_than_one_block_and_over_very_long_lines():
    lines = [b"x" * 3_000_000 if number == 5 else b"line %d" % number for number in range(200_000)]
    log = b"\n".join(lines) + b"\n"
    assert found(log, "line 199999") == [199_999]
    assert found(log, "line 4$", regex=True) == [4]
    answer = search(log, "line", False, False)
    assert (answer["count"], len(answer["lines"]), answer["complete"]) == (199_999, 10_000, False)


@pytest.mark.parametrize(
    ("text", "regex", "lines"),
    [
        ("", True, [0, 1, 2, 3]),
        ("$", True, [0, 1, 2, 3]),
        ("x*", True, [0, 1, 2, 3]),
        ("^$", True, [1]),
        ("a$", True, [0, 3]),
        (r"\s", True, [2]),
        ("[^z]b", True, [2]),
        ("a\\nb", True, []),
        ("GR\xdcN", True, [2]),
        (".n", True, [2]),
    ],
)
def test_each_line_is_found_once(text: str, regex: bool, lines: list[int]):
    log = "ba\n\na b gr\xfcn\naaa".encode()
    assert found(log, text, regex=regex) == lines
    assert found(log + b"\n", text, regex=regex) == lines


def test_what_is_unreadable_is_one_character_for_an_expression():
    assert found(b"a\xffb\n", "^a.b$", regex=True) == [0]


def test_an_escape_sequence_without_end_hides_no_other_line():
    assert displayed(b"a\x1b]8;;http://x\nb\x07\n") == b"a\nb\n"
    assert found(b"a\x1b]8;;http://x\nneedle\n", "needle") == [1]


def test_what_carriage_returns_leave_is_what_a_reader_sees():
    for printed, read in (
        (b"a\rb\r\n", b"b\n"),
        (b"\r\r\rx\r\r\r\n\r\n", b"x\n\n"),
        (b"10%\r20%\r", b"20%"),
        (b"a\n\rb\rc", b"a\nc"),
        (b"\r" * 5, b""),
        (b"abcdef\rxy\n", b"xycdef\n"),
        (b"", b""),
    ):
        assert displayed(printed) == read


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


def test_of_markers_without_end_the_first_are_looked_at():
    log = b"::group::a\n::endgroup::\n" * 200_000
    assert len(groups(log)) == 5_000


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
        ("npm warn old\nnpm ERR! code ETARGET\nnpm ERR! notarget No version\n\nlast words\n",
         "npm ERR! code ETARGET"),
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


def test_a_step_that_still_runs_has_only_errors_that_are_sure():
    unsure = b"it failed once\nan ERROR in words\nlast words\n"
    assert outline(unsure, [[0, len(unsure)]], [0, len(unsure)], has_failed=False)["error"] is None
    sure = unsure + b"a.c:1:1: error: no\nb.c:1:1: error: no\n"
    assert outline(sure, [[0, len(sure)]], [0, len(sure)], has_failed=False)["error"]["line"] == 3


def test_groups_tell_whether_their_last_line_is_a_marker():
    log = b"::group::A\nx\n::endgroup::\n--- B\ny\n"
    made = outline(log, [[0, len(log)]], None)["groups"]
    assert [(group["title"], group["marked"]) for group in made] == [("A", True), ("B", False)]


def test_announcements_are_searched_as_they_are_shown():
    log = b"::error file=a.c,line=1::bad\n::warning::so so\n##[error]worse\n x::error::inside\n::errors::\n"
    assert found(log, "Error: bad") == [0]
    assert found(log, "Warning: so so") == [1]
    assert found(log, "^Error: worse$", regex=True) == [2]
    assert found(log, "::error") == [3, 4]


def test_a_line_that_ends_a_group_and_begins_another_belongs_to_the_other():
    log = (
        b"section_start:1:a\r\x1b[0KOne\n1\nsection_end:2:a\r\x1b[0Ksection_start:2:b\r\x1b[0KTwo\n2\n"
        b"section_end:3:b\r\x1b[0K\n"
    )
    made = outline(log, [[0, len(log)]], None)["groups"]
    assert [(group["title"], group["line"], group["end"], group["marked"]) for group in made] == [
        ("One", 0, 1, False),
        ("Two", 2, 4, True),
    ]


@pytest.mark.parametrize(
    ("line", "marked"),
    [
        (b"section_end:1:a", True),
        (b"\x1b[0Ksection_end:1:a\r\x1b[0K", True),
        (b"rm everything; section_end:1:a", False),
        (b"section_end:1:a\r\x1b[0Kall is well", False),
        (b"x" * 3_000 + b"section_end:1:a", False),
        (b"section_end:1:a" + b" " * 3_000 + b"x", False),
    ],
)
def test_only_a_line_that_is_nothing_but_a_marker_is_left_out(line: bytes, marked: bool):
    log = b"section_start:1:a\rA\n1\n" + line + b"\nafter\n"
    (group,) = outline(log, [[0, len(log)]], None)["groups"]
    assert (group["end"], group["marked"]) == (2, marked)
