"""The server searches exactly what the log viewer shows."""

from __future__ import annotations

import base64
import random

from playwright.async_api import Page, expect

from rapidflow_web.logs.displayed_text import displayed
from tests.support.server import Server

PARTS = [
    *(
        b"\r",
        b"\r",
        b"\b",
        b"\b\b",
        b"\t",
        b"\x07",
        b"\x1b",
        b"\0",
        b"\x0b",
        b"\x7f",
        b" ",
        b"a",
        b"bc",
        b"defg",
    ),
    *(b"\x1b[K", b"\x1b[1K", b"\x1b[2K", b"\x1b[5K", b"\x1b[?K", b"\x1b[G", b"\x1b[3G", b"\x1b[0007G"),
    *(
        b"\x1b[99999999999999999999G",
        b"\x1b[1000G",
        b"\x1b[C",
        b"\x1b[4C",
        b"\x1b[2000C",
        b"\x1b[D",
        b"\x1b[2D",
    ),
    *(
        b"\x1b[3X",
        b"\x1b[2@",
        b"\x1b[2P",
        b"\x1b[4b",
        b"\x1b[2I",
        b"\x1b[Z",
        b"\x1b[1;4H",
        b"\x1b[J",
        b"\x1b7",
        b"\x1b8",
    ),
    *(
        b"\x1bc",
        b"\x1b(0",
        b"\x1b(B",
        b"\x1b)0",
        b"\x0e",
        b"\x0f",
        b"\x1bPq",
        b"\x1b_x",
        b"\x18",
        b"\x1b[?3G",
        b"\x1b[s",
        b"\x1b[u",
    ),
    *(
        "\u0301".encode(),
        "\u0301".encode() * 260,
        "\u200d".encode(),
        "\x9b".encode(),
        b"\x1b[1\r2",
        b"\x1b[99b",
    ),
    *(b"\x1b[9;4D", b"\x1b[31m", b"\x1b[", b"\x1b]8;;x\r", b"\x1b\\", b"\x1b(B", b"1;", b"m", b"x" * 990),
    *("é".encode(), "漢".encode(), "🎉".encode(), "e\u0301".encode()),
    *(b"\xef\xbb\xbf", b"\xff", b"\xc3", b"\xe2\x82"),
]
WIDEST = b"x" * (1 << 20)
WRITTEN = [
    *(
        b"abcdef\rxy",
        b"10%\r20%\r",
        b"100%\r20%",
        b"ab\b\bc",
        b"abc\x1b[1D\x1b[K",
        b"abc\r\x1b[Kd",
        b"a\tb\rc",
    ),
    *("漢字\rx".encode(), b"\xef\xbb\xbfa", b"\xc3\x1b[0m\xa9", b"\x1b\x1b[0m[31mx", b"a\r\x1b[0m\r"),
    *(WIDEST + b"yz", WIDEST[:-1] + "漢x".encode(), b"\r" + WIDEST + b"yz\rab", b"\b" + WIDEST),
]


async def test_the_search_reads_each_line_as_the_viewer_shows_it(page: Page, server: Server) -> None:
    chance = random.Random(20_261_127)
    lines = WRITTEN + [b"".join(chance.choices(PARTS, k=chance.randint(1, 14))) for _ in range(6_000)]
    read = [displayed(line).decode("utf-8", "replace") for line in lines]
    assert displayed(b"\n".join(lines)).decode("utf-8", "replace").split("\n") == read
    await page.goto(server.url)
    shown = await page.evaluate(
        """async (lines) => {
          const { plain, pieces } = await import("/static/js/log/terminal.js");
          const { PLAIN } = await import("/static/js/log/sgr.js");
          return lines.map((line) => {
            const bytes = Uint8Array.from(atob(line), (character) => character.charCodeAt(0));
            const text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
            return [plain(text), pieces(text, PLAIN).map((piece) => piece.text).join("")];
          });
        }""",
        [base64.b64encode(line).decode() for line in lines],
    )
    for line, one, others in zip(lines, read, shown, strict=True):
        assert others == [one, one], line[:200]


async def test_a_search_finds_what_a_line_shows_after_it_was_written_over(page: Page, server: Server) -> None:
    step = r"printf 'abcdef\rxy\nqrst\b\bv\nlong gone\r\033[Kdone\n'"
    job_id = server.run({"name": "over", "steps": [step]})["job"]["id"]
    await page.goto(f"{server.url}/ui/jobs/{job_id}")
    await expect(page.locator("#log")).to_contain_text("xycdef")
    await expect(page.locator("#log")).to_contain_text("qrvt")
    for text, count in {"xycdef": 1, "abcdef": 0, "qrvt": 1, "gone": 0, "done": 1}.items():
        found = server.get(f"/ui/jobs/{job_id}/log/search?q={text}").json
        assert found["count"] == count, text
