"""Reads what tmux's `capture-pane -e` says of a screen: text, and sequences as only tmux writes them."""

from __future__ import annotations

import re

from tests.support.terminal_lines import normal

_PART = re.compile(r"\x1b\[([0-9;:]*)m|([\x0e\x0f])|([^\x1b\x0e\x0f]+)")
_ATTRIBUTES = {"1": "bold", "2": "dim", "3": "italic", "4": "under=1", "5": "blink", "7": "inverse",
               "8": "conceal", "9": "strike", "53": "over"}  # fmt: skip
_DRAWN = str.maketrans("lqkxtu", "┌─┐│├┤")


def captured(screen: str) -> list[tuple[str, str]]:
    """The one line of a screen that is not empty, as the pieces of `terminal_lines`."""
    style: dict[str, str] = {}
    drawn = False
    lines: list[list[tuple[str, str]]] = []
    for line in screen.split("\n"):
        pieces: list[tuple[str, str]] = []
        for match in _PART.finditer(line):
            if match[1] is not None:
                style = _after(style, match[1])
            elif match[2]:
                drawn = match[2] == "\x0e"
            else:
                text = match[3].translate(_DRAWN) if drawn else match[3]
                pieces.append((text, " ".join(f"{key}{value}" for key, value in style.items())))
        if pieces:
            lines.append(normal([*pieces]))
    filled = [line for line in lines if line]
    assert len(filled) <= 1, screen
    return filled[0] if filled else []


def _after(style: dict[str, str], parameters: str) -> dict[str, str]:
    style = dict(style)
    codes = parameters.split(";")
    while codes:
        code = codes.pop(0)
        if code in ("", "0"):
            style = {}
        elif code in ("38", "48", "58"):
            count = 2 if codes[0] == "5" else 4
            style[{"38": "fg=", "48": "bg=", "58": "ul="}[code]] = _colour([*map(int, codes[1:count])])
            del codes[:count]
        elif code == "5:3":
            style["over"] = ""  # as tmux 3.3 writes it
        elif ":" in code:
            kind, *numbers = code.split(":")
            if kind == "4":
                style["under="] = numbers[0]
            else:
                style["ul="] = _colour([int(number) for number in numbers[1:] if number])
        elif code in _ATTRIBUTES:
            name, _, value = _ATTRIBUTES[code].partition("=")
            style[f"{name}=" if value else name] = value
        else:
            number = int(code)
            base = {3: ("fg=", 0), 4: ("bg=", 0), 9: ("fg=", 8), 10: ("bg=", 8)}[number // 10]
            if number % 10 == 9:
                style.pop(base[0], None)
            else:
                style[base[0]] = str(number % 10 + base[1])
    return style


def _colour(numbers: list[int]) -> str:
    if len(numbers) == 3:
        return "#" + "".join(f"{number:02x}" for number in numbers)
    number = numbers[0]
    if number < 16:
        return str(number)
    if number > 231:
        return "#" + f"{8 + (number - 232) * 10:02x}" * 3
    number -= 16
    levels = (number // 36, number // 6 % 6, number % 6)
    return "#" + "".join(f"{level * 40 + 55 if level else 0:02x}" for level in levels)
