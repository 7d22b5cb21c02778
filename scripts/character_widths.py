"""Updates the tables of characters that take no column of a terminal, or two, in server and browser.

    pip install wcwidth==0.2.13 && python -m scripts.character_widths

Both are made from the same Unicode data, so that a search finds what is shown.
"""

from __future__ import annotations

import importlib
import re
import textwrap
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[1]
_UNICODE = "15.1.0"
_FIRST_WIDE_PLANE, _LAST_WIDE = 0x20000, 0x3FFFD
_TAGS = (0xE0000, 0xE0FFF)


def _table(name: str) -> list[tuple[int, int]]:
    tables: Any = importlib.import_module(f"wcwidth.table_{name}")
    table = getattr(tables, {"zero": "ZERO_WIDTH", "wide": "WIDE_EASTASIAN"}[name])[_UNICODE]
    return [(first, last) for first, last in table if 0x300 <= first < _FIRST_WIDE_PLANE]


def _text(ranges: list[tuple[int, int]]) -> str:
    words = (f"{first:x}" if first == last else f"{first:x}-{last:x}" for first, last in ranges)
    return textwrap.fill(" ".join(words), 108, break_on_hyphens=False)


def main() -> None:
    """Puts both tables into both files."""
    zero, wide = _table("zero"), _table("wide")
    server = {"ZERO": [*zero, _TAGS], "WIDE": [*wide, (_FIRST_WIDE_PLANE, _LAST_WIDE)]}
    # It has a table of the characters up to that plane, and knows of the others without one.
    browser = {"ZERO": zero, "WIDE": wide}
    for path, tables in (
        (_ROOT / "rapidflow_web/logs/character_widths.py", server),
        (_ROOT / "static/js/log/widths.js", browser),
    ):
        text = re.sub(r"Unicode [0-9.]+(?=\.\n)", f"Unicode {_UNICODE}", path.read_text())
        for name, ranges in tables.items():
            text = re.sub(rf'({name} = (?:"""|`)\n)[0-9a-f \n-]*(?=\n)', rf"\g<1>{_text(ranges)}", text)
        path.write_text(text)


if __name__ == "__main__":
    main()
