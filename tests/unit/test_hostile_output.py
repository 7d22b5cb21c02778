"""Whatever is printed can be read, searched and outlined."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rapidflow_web.errors import one_line
from rapidflow_web.logs.displayed_text import displayed
from rapidflow_web.logs.masking.masker import Masker
from rapidflow_web.logs.scan import outline, search
from tests.support.cpu import cpu_seconds
from tests.support.hostile import OUTPUTS

PARTS = [b"\r", b"\n", b"\b", b"\x1b", b"\x1b[", b"\x1b]8;;", b"\x07", b"1;", b"m", b"x", b"error", b"--",
         b" ", b"::group::", b"::endgroup::", b"section_start:1:a", b"section_end:1:a", b"[", b"]",
         b"::add-mask::", b"+++ ", b"\xff", b"\xc3", b"\0"]  # fmt: skip
printed = st.lists(st.sampled_from(PARTS) | st.binary(max_size=5), max_size=60).map(b"".join)


@settings(deadline=None)
@given(printed)
def test_a_reader_sees_each_line_without_what_was_written_over(output: bytes):
    read = displayed(output)
    assert read.count(b"\n") == output.count(b"\n")
    assert b"\r" not in read
    assert not any(control in read for control in b"\b\x07\x1b\0")


@settings(deadline=None)
@given(printed, st.sampled_from(["", "x", "$", "^", "error", ".", "é", r"\s"]))
def test_each_line_that_matches_is_found_once_and_in_order(output: bytes, text: str):
    lines = search(output, text, False, True)["lines"]
    assert lines == sorted(set(lines))
    assert all(0 <= line < output.count(b"\n") + (not output.endswith(b"\n")) for line in lines)
    if text in ("x", "error"):
        seen = displayed(output).split(b"\n")
        assert lines == [n for n, line in enumerate(seen) if re.search(text.encode(), line, re.IGNORECASE)]


@settings(deadline=None)
@given(printed)
def test_an_outline_stays_within_the_log(output: bytes):
    made = outline(output, [[0, len(output)]], [0, len(output)])
    last = output.count(b"\n")
    assert all(0 <= group["line"] <= group["end"] <= last for group in made["groups"])
    assert made["error"] is None or 0 <= made["error"]["line"] <= last


@settings(deadline=None)
@given(printed)
def test_what_was_printed_becomes_part_of_a_sentence(output: bytes):
    text = Masker(["secret"]).mask(output.decode("utf-8", "replace"))
    assert "\n" not in one_line(text)


@pytest.mark.parametrize("erased", [b"\x1b[2K", b"\x1b[1K", b"\x1b[K", b"\x1b[G", b"\b", b"\r"])
def test_a_wide_line_that_is_written_over_again_and_again_takes_its_length(erased: bytes):
    with cpu_seconds(60):
        displayed(b"x" * (1 << 20) + (erased + b"x") * 300_000)


def test_hostile_output_is_read():
    for output in OUTPUTS.values():
        assert displayed(output).count(b"\n") == output.count(b"\n")
        outline(output, [[0, len(output)]], [0, len(output)])
