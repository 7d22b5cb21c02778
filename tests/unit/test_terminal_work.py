"""A line takes work in proportion to its length, whatever is in it."""

from __future__ import annotations

from typing import Any

import pytest

from rapidflow_web.logs import terminal_line
from rapidflow_web.logs.displayed_text import displayed

C0_CONTROLS = [bytes([code]) for code in {*range(0x20), 0x7F} - {*b"\n\x1b"}]
FINALS = [bytes([code]) for code in range(0x40, 0x7F)]
CELL = b"a" + "\u0301".encode() * 249
BEGINNINGS = [b"x" * 900, CELL * 3, "漢".encode() * 400]


class _Counted(list[str]):
    """Cells that count how much is written into them, and moved."""

    steps = 0

    def __setitem__(self, place: Any, cells: Any) -> None:
        _Counted.steps += sum(map(len, cells))
        super().__setitem__(place, cells)

    def __delitem__(self, place: Any) -> None:
        _Counted.steps += len(self)
        super().__delitem__(place)

    def __iadd__(self, cells: Any) -> Any:
        _Counted.steps += len(cells)
        return super().__iadd__(cells)


def _steps(line: bytes, monkeypatch: pytest.MonkeyPatch) -> int:
    made = terminal_line._Line.__init__  # pyright: ignore[reportPrivateUsage]

    def counted(self: Any) -> None:
        made(self)
        self.cells = _Counted()

    with monkeypatch.context() as patch:
        patch.setattr("rapidflow_web.logs.terminal_line._Line.__init__", counted)
        _Counted.steps = 0
        displayed(line)
    return _Counted.steps


@pytest.mark.parametrize("final", FINALS)
def test_control_sequences_take_work_in_the_length_of_their_line(
    final: bytes, monkeypatch: pytest.MonkeyPatch
):
    for beginning in BEGINNINGS:
        for way in (b"\r\x1b[C\x1b[999%b", b"\x1b[9D\x1b[999%b", b"\x1b[999%by\x1b[999`y\r\x1b[C"):
            line = beginning + way.replace(b"%b", final) * 2_000
            # A tail of a line moves with what is put before it, so each cell counts a few times.
            assert _steps(line, monkeypatch) < 500_000 + 100 * len(line), (beginning[:2], way)


@pytest.mark.parametrize("control", C0_CONTROLS)
def test_control_characters_make_no_line_longer_than_it_may_be(
    control: bytes, monkeypatch: pytest.MonkeyPatch
):
    many = control * (terminal_line.MOST // 8 + 1)
    for line in (many + b"x\x08y", b"\x08a" + many + "漢\x08y".encode(), many + b"\x1b[Ix\x08y"):
        assert _steps(line, monkeypatch) <= 2 * terminal_line.MOST
        assert len(displayed(line).decode()) <= terminal_line.MOST


def test_tabs_end_at_the_last_column():
    assert displayed(b"\t" * 140_000 + b"x\x08y") == b" " * (terminal_line.MOST - 1) + b"y"
    assert displayed(b"\t" * 140_000 + b"\x08y") == b" " * (terminal_line.MOST - 1) + b"y"


def test_marks_after_the_ellipsis_of_a_line_are_left_out():
    assert displayed(b"x" * (terminal_line.MOST + 1) + "\u0301".encode()).decode()[-2:] == "x…"


def test_a_repeated_character_leaves_its_marks_behind():
    assert displayed("\re\u0301\x1b[2bx".encode()) == "e\u0301eex".encode()


def test_what_is_too_much_for_a_line_is_left_out_and_the_rest_is_shown():
    shown = displayed(b"a\x1b[999b" + b"\r\x1b[Cb\x1b[999b" * 1_000 + b"\rend")
    assert shown.startswith(b"endb")
    assert len(shown) == 1_000


@pytest.mark.parametrize("before", ["", "a", "a\t", "漢", "\x1b[31ma"])
@pytest.mark.parametrize("between", ["", "\x1b[m", "\x07"])
def test_a_character_has_no_more_marks_than_a_cell(before: str, between: str):
    line = before + f"{between}\u0301" * 1_000 + "b"
    assert displayed(f"{line}\n{line}".encode()).decode().count("\u0301") <= 2 * 250
    assert displayed(line.encode()).decode().endswith("b")
