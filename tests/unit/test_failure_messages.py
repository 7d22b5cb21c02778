"""The one line that says why a step failed, out of its log."""

from __future__ import annotations

import pytest

from rapidflow_web.logs.failure import message

TRACEBACK = """Traceback (most recent call last):
  File "x.py", line 3, in <module>
    go()

  File "y.py", line 9, in go
httpx.ConnectTimeout: timed out
"""


@pytest.mark.parametrize(
    ("printed", "text", "line"),
    [
        (TRACEBACK, "httpx.ConnectTimeout: timed out", 5),
        (
            f"{TRACEBACK}\nDuring handling of the above exception, another exception occurred:\n\n"
            "Traceback (most recent call last):\n  File\nValueError: no answer\nmake: *** [test] Error 1\n",
            "ValueError: no answer",
            11,
        ),
        (f"{TRACEBACK}after it\n", "httpx.ConnectTimeout: timed out", 5),
        ("Traceback (most recent call last):\n  File", "Traceback (most recent call last):", 0),
        ("E       assert 1 == 2\nmore\n", "assert 1 == 2", 0),
        ("::error file=a.py,line=1::It broke\n", "It broke", 0),
        ("##[error]It broke\n", "It broke", 0),
        ("::error title=a:b,line=2::out of paper\n", "out of paper", 0),
        ("::ERROR file=a.py::out of paper\n", "out of paper", 0),
        ("npm ERR! missing script: test\n", "missing script: test", 0),
        ("npm ERR! code ETARGET\nnpm ERR! notarget No version\n", "notarget No version", 1),
        ("npm error code EUSAGE\nnpm error\nnpm error `npm ci` needs a lock file\n",
         "`npm ci` needs a lock file", 2),
        ("npm ERR! code ENOENT\nnpm ERR! syscall open\nnpm ERR! path /package.json\nnpm ERR! errno -2\n"
         "npm ERR! enoent no such file\n", "enoent no such file", 4),
        ("npm ERR! code 1\nother\nnpm ERR! late\n", "code 1", 0),
        ("##[ERROR]It broke\n", "It broke", 0),
        ("[ERROR] It broke\n", "It broke", 0),
        ("FAIL: TestOne    (0.00s)\n", "FAIL: TestOne    (0.00s)", 0),
        ("error: could not compile    foo\n", "error: could not compile    foo", 0),
        ("e    lower\n", "e    lower", 0),
        ("error: see docs [ERROR] y\n", "error: see docs [ERROR] y", 0),
        ("error: ::error::x\n", "error: ::error::x", 0),
        ("10%\r" * 2000 + "error: bad\n", "error: bad", 0),
        ("\x1b[31merror\x1b[0m: bad\r\n", "error: bad", 0),
        ("thread 'main' panicked at src/main.rs:2:5:\nno luck\n", "no luck", 1),
        ("panicked at 'no luck', a.rs:2:5\n", "panicked at 'no luck', a.rs:2:5", 0),
        ("a.c:3:1: error: expected ';'\n", "a.c:3:1: error: expected ';'", 0),
    ],
)  # fmt: skip
def test_a_message_is_the_line_that_a_person_would_quote(printed: str, text: str, line: int):
    found = message(printed.encode())
    assert found is not None
    assert (found.text, found.line) == (text, line)


def test_a_blank_line_is_no_message():
    assert message(b"  \n") is None
    assert message(b"") is None


def test_a_message_is_short_whatever_was_printed():
    found = message(b"error: " + b"x" * 100_000)
    assert found is not None and len(found.text) == 300
