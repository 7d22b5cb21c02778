"""The log viewer and the search make of printed bytes what a terminal does."""

from __future__ import annotations

import asyncio
import base64
import re
from pathlib import Path

from playwright.async_api import Page

from rapidflow_web.logs.displayed_text import displayed
from rapidflow_web.logs.terminal_line import written
from tests.support.captured import captured
from tests.support.server import Server
from tests.support.terminal_lines import ALONE, BOTH, normal
from tests.support.tmux import screens

# Of each line: its cells, its text, its text by pieces, and the style after it, by two ways.
READ = """async (lines) => {
  const { Reader, plain, pieces, styleAfter } = await import("/static/js/log/terminal.js");
  const { PLAIN } = await import("/static/js/log/sgr.js");
  const hex = (value) => `#${(value & 0xffffff).toString(16).padStart(6, "0")}`;
  const colour = (value) => (value < 16 ? String(value) : hex(value));
  const words = (style) => {
    const names = ["bold", "dim", "italic", "blink", "inverse", "conceal", "strike"];
    const found = names.filter((name) => style[name]);
    if (style.overline) found.push("over");
    if (style.underline) found.push(`under=${style.underline}`);
    for (const [name, key] of [["fg", "fg"], ["bg", "bg"], ["ul", "under"]]) {
      if (style[key] !== null) found.push(`${name}=${colour(style[key])}`);
    }
    if (style.link) found.push(`link=${style.link}`);
    return found.join(" ");
  };
  return lines.map((line) => {
    const bytes = Uint8Array.from(atob(line), (character) => character.charCodeAt(0));
    const text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
    const { line: cells, style } = new Reader(PLAIN).read(text, true);
    const shown = (found) => found.map((piece) => [piece.text, words(piece.style)]);
    return {
      cells: shown(cells.pieces()), text: plain(text), pieces: shown(pieces(text, PLAIN)),
      after: words(style), afterAll: words(styleAfter(text, PLAIN)),
    };
  });
}"""


async def test_the_table_of_lines_is_what_tmux_shows(tmp_path: Path):
    shown = await asyncio.to_thread(screens, [line for line, _ in BOTH], tmp_path)
    for (line, pieces), screen in zip(BOTH, shown, strict=True):
        # This tmux has no links.
        expected = [(text, re.sub(r"link=\S+", "", style).strip()) for text, style in normal(pieces)]
        assert captured(screen) == normal([*expected]), line


async def test_the_viewer_and_the_search_show_lines_as_a_terminal_does(page: Page, server: Server):
    rows = BOTH + ALONE
    assert len(rows) >= 200
    await page.goto(server.url)
    read = await page.evaluate(READ, [base64.b64encode(line).decode() for line, _ in rows])
    for (line, pieces), found in zip(rows, read, strict=True):
        expected = normal(pieces)
        text = "".join(piece for piece, _ in expected)
        assert normal([(text, style) for text, style in found["cells"]]) == expected, line
        # What only writes is read without cells, and keeps its tabs.
        if b"\t" not in line:
            assert normal([(text, style) for text, style in found["pieces"]]) == expected, line
        assert "".join(piece for piece, _ in found["pieces"]) == found["text"], line
        assert found["after"] == found["afterAll"], line
        assert displayed(line).decode("utf-8", "replace") == found["text"], line
        assert written(line.decode("utf-8", "replace")).rstrip(" ") == text, line
