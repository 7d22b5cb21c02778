"""The styles with which parts of a log begin."""

from __future__ import annotations

import itertools

import pytest

from rapidflow_web.logs.carried_styles import _after, carried_styles  # pyright: ignore[reportPrivateUsage]
from rapidflow_web.logs.scan import outline


def after(printed: bytes) -> str:
    """The style after what was printed."""
    return dict(carried_styles(printed + b"\n", [0, len(printed) + 1]).styles).get(len(printed) + 1, "")


@pytest.mark.parametrize(
    ("printed", "style"),
    [
        (b"plain", ""),
        (b"\x1b[31mred", "31"),
        (b"\x1b[31mred\x1b[0m", ""),
        (b"\x1b[31mred\x1b[m\x1b[1mbold", "1"),
        (b"\x1b[1;31m\x1b[39m", "1"),
        (b"\x1b[1;2;4m\x1b[22m", "4"),
        (b"\x1b[;31m", "31"),
        (b"\x1b[0;0;031m", "31"),
        (b"\x1b[97;104m", "97;104"),
        (b"\x1b[38;5;202;1m", "38;5;202;1"),
        (b"\x1b[38;2;1;2;3m\x1b[48:2::4:5:6m", "38;2;1;2;3;48;2;4;5;6"),
        (b"\x1b[31m\x1b[38;5;300m", "31"),
        (b"\x1b[38:5:9m\x1b[39m", ""),
        (b"\x1b[4:3m", "4:3"),
        (b"\x1b[4:3m\x1b[4:0m", ""),
        (b"\x1b[4;58;5;9m", "4;58;5;9"),
        (b"\x1b[4;58;5;9m\x1b[59m", "4"),
        (b"\x1b[>4;2m\x1b[?4m", ""),
        (b"\x1b[31m\x1bc", ""),
        (b"\x1b[3\r1m", "31"),
        (b"\x1b[99m\x1b[1000m", ""),
        (b"\x1b[38", ""),
        (b"\x1b[38;5;1:2m", ""),
        (b"\x1b[48;2;1;:;3m", ""),
        (b"\x1b[4:3m\x1b[4:12m", "4:3"),
        (b"\x1b[31m\x1b7\x1b[0m\x1b8", "31"),
        (b"\x1b[31m\x1b[s\x1b[32m\x1b[u", "31"),
        (b"\x1b[31m\x1b8", ""),
        (b"\x1b[31m\x1b7\n\x1b[32m\x1b8", ""),
        (b"\x1b[31m\x1b7\x1b[0m\x1b[1u", ""),
    ],
)
def test_styles_are_carried_until_they_are_reset(printed: bytes, style: str):
    assert after(printed) == style


def test_each_part_begins_with_what_all_before_it_left():
    log = b"a\x1b[1m\nb\nc\x1b[32m\nd\x1b[0m\ne\n"
    points = [0, *(at + 1 for at, byte in enumerate(log) if byte == 10)]
    made = carried_styles(log, points)
    assert made.styles == [(points[1], "1"), (points[3], "1;32"), (points[4], "")]
    assert made.until == len(log) + 1


def test_what_is_too_much_to_read_leaves_what_was_read(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("rapidflow_web.logs.carried_styles._MOST_BYTES", 50)
    made = carried_styles(b"\x1b[31m\x1b[32m\x1b[33m\x1b[34m\n" * 5, [0, 21, 42, 63, 84])
    assert (made.styles, made.until) == ([(21, "34")], 43)


def test_time_ends_within_a_part_that_has_only_sequences(monkeypatch: pytest.MonkeyPatch):
    asked = itertools.count()
    monkeypatch.setattr("rapidflow_web.logs.carried_styles.time.monotonic", lambda: next(asked) / 4)
    log = b"\x1b[1m" * 2_000_000 + b"\n"
    assert carried_styles(log, [0, len(log)]).until == 1
    assert next(asked) == 6


def test_sequences_that_repeat_are_worked_out_once(monkeypatch: pytest.MonkeyPatch):
    worked_out: list[bytes] = []

    def counted(state: dict[str, str], body: bytes) -> dict[str, str]:
        worked_out.append(body)
        return _after(state, body)

    monkeypatch.setattr("rapidflow_web.logs.carried_styles._after", counted)
    log = b"\x1b[36mname\x1b[39m \x1b[1mbold\x1b[22m and so on\n" * 5_000
    made = carried_styles(log + b"\x1b[32m\n", [0, len(log) // 2, len(log) + 6])
    assert made.styles == [(len(log) + 6, "32")]
    assert len(worked_out) < 10


@pytest.mark.parametrize("at", range(20))
def test_a_sequence_that_lies_across_blocks_is_read(monkeypatch: pytest.MonkeyPatch, at: int):
    monkeypatch.setattr("rapidflow_web.logs.carried_styles._BLOCK", 20)
    assert after(b"x" * at + b"\x1b[38;5;202m" + b"x" * 30) == "38;5;202"


def test_styles_that_cannot_be_read_cost_no_groups_and_no_error(monkeypatch: pytest.MonkeyPatch):
    def broken(*_: object) -> None:
        raise ValueError("broken")

    monkeypatch.setattr("rapidflow_web.logs.scan.carried_styles", broken)
    log = b"::group::One\nx\n::endgroup::\nmain.c:1:1: error: broken\n"
    made = outline(log, [[0, len(log)]], [0, len(log)], points=[0])
    assert [group["title"] for group in made["groups"]] == ["One"]
    assert made["error"] == {"line": 3, "offset": 28}
    assert (made["styles"], made["styles_until"]) == ([], 0)
