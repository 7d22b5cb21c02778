"""Lines that make a terminal work hard: the browser's model of it is bounded, and the server's alike."""

from __future__ import annotations

import hashlib
import random

from playwright.async_api import Page, expect

from rapidflow_web.logs.carried_styles import carried_styles
from rapidflow_web.logs.displayed_text import displayed
from tests.support.server import Server

# Of each line, how many cells were written into it.
STEPS = """async (lines) => {
  const { Reader } = await import("/static/js/log/terminal.js");
  const { PLAIN } = await import("/static/js/log/sgr.js");
  return lines.map((line) => {
    let steps = 0;
    const reader = new Reader(PLAIN);
    reader.line.cells = new Proxy([], {
      set(cells, place, value) {
        steps += typeof value === "string" ? value.length : 1;
        cells[place] = value;
        return true;
      },
    });
    reader.read(line, true);
    return steps;
  });
}"""
# Of each line, the styles after it, and that which the server says.
STYLES = """async (lines) => {
  const { styleAfter } = await import("/static/js/log/terminal.js");
  const { carried, PLAIN, styled } = await import("/static/js/log/sgr.js");
  const words = (style) => JSON.stringify(Object.entries(style));
  return lines.map(([text, parameters]) => [
    words(text.split("\\n").reduce((style, line) => carried(styleAfter(line, style)), PLAIN)),
    words(parameters ? styled(PLAIN, parameters) : PLAIN),
  ]);
}"""


async def test_control_sequences_take_work_in_the_length_of_their_line(page: Page, server: Server):
    await page.goto(server.url)
    cell = "a" + "\u0301" * 249
    lines = [
        beginning + way.replace("%b", chr(final)) * 1_000
        for final in range(0x40, 0x7F)
        for beginning, way in ((cell, "\r\x1b[C\x1b[999%b"), ("x" * 900, "\x1b[9D\x1b[999%b"))
    ]
    for line, steps in zip(lines, await page.evaluate(STEPS, lines), strict=True):
        # A tail of a line moves with what is put before it, so each cell counts a few times.
        assert steps < 250_000 + 100 * len(line), line[-20:]


async def test_the_browser_and_the_server_leave_out_the_same(page: Page, server: Server):
    chance = random.Random(20_261_128)
    parts = ["a", "漢", "\t", "\x1b[31m", "\x1b[m", "\r", "\x1b[999b", "\x1b[999@", "\x1b[999X", "\x1b[999P",
             "\x1b[C", "\x1b[999G", "\x1b[K", "\x1b[1K", "\x1b[500D", "\x1b7", "\x1b8", "\x07",
             *["\u0301" * 200] * 3, "\U000e0100" * 120, "\U000e0100"]  # fmt: skip
    lines = ["".join(chance.choices(parts, k=60)) * chance.choice((1, 20)) for _ in range(80)]
    simple = [
        "a",
        "漢",
        "\x1b[m",
        "\t",
        "\x85",
        *["\u0301" * 200] * 2,
        "\u0301",
        "\U000e0100" * 120,
        "\U000e0100",
    ]
    lines += ["".join(chance.choices(simple, k=20)) for _ in range(150)]
    # Sent as what is repeated, how often and what follows, and compared by hash, because they are 9 MB.
    repeated: list[tuple[str, int, str]] = [(line, 1, "") for line in lines]
    for end in (
        "x\by",
        "\by",
        "x\by\x07z",
        "漢\by",
        "x\u0301",
        "漢x\x07\u0301",
        "\x1b[Ix\x1b[9D\ty",
        "x\x1b[1Ky",
    ):
        repeated += [("\t", 140_000, end), ("x", 1 << 20, end)]
    await page.goto(server.url)
    shown = await page.evaluate(
        """async (lines) => {
          const { plain, pieces } = await import("/static/js/log/terminal.js");
          const { PLAIN } = await import("/static/js/log/sgr.js");
          const hash = async (text) => {
            const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
            return new Uint8Array(digest).toHex();
          };
          const both = (line) => [plain(line), pieces(line, PLAIN).map((piece) => piece.text).join("")];
          return Promise.all(lines.map(
            ([unit, times, end]) => Promise.all(both(unit.repeat(times) + end).map(hash))));
        }""",
        repeated,
    )
    for (unit, times, end), both in zip(repeated, shown, strict=True):
        told = hashlib.sha256(displayed((unit * times + end).encode())).hexdigest()
        assert both == [told, told], (unit[:300], times, end)


async def test_the_browser_and_the_server_carry_the_same_styles(page: Page, server: Server):
    chance = random.Random(20_261_127)
    numbers = [*"0123456789", *map(str, range(20, 60)), "", "90", "107", "255", "256", "2:", ":", "1:2",
               "4:3", "4:12", "4:", "38:5:9", "48:2::1:2:3", "58:2:1:2:3", "38", "48", "58", "5", "2", "00",
               "05", "999"]  # fmt: skip
    others = [
        "\x1b7",
        "\x1b8",
        "\x1b[s",
        "\x1b[u",
        "\x1b[1u",
        "\x1bc",
        "\n",
        "x",
        "\x1b[>4;2m",
        "\x1b[?4m",
        "\x1b[3\r1m",
    ]
    logs = [
        "".join(
            chance.choice(others)
            if chance.random() < 0.2
            else f"\x1b[{';'.join(chance.choices(numbers, k=chance.randint(1, 9)))}m"
            for _ in range(chance.randint(1, 12))
        )
        for _ in range(3_000)
    ]
    ends = [len(log) + 1 for log in logs]
    said = [
        dict(carried_styles(f"{log}\n".encode(), [0, end]).styles).get(end, "")
        for log, end in zip(logs, ends, strict=True)
    ]
    await page.goto(server.url)
    for log, (after, server_says) in zip(
        logs, await page.evaluate(STYLES, list(zip(logs, said, strict=True))), strict=True
    ):
        assert after == server_says, log


async def test_a_line_of_very_many_pieces_is_shown(page: Page, server: Server):
    await page.goto(server.url)
    made = await page.evaluate(
        """async () => {
          const { lineRow } = await import("/static/js/log/row.js");
          const { Shown } = await import("/static/js/log/shown.js");
          const { pieces } = await import("/static/js/log/terminal.js");
          const { PLAIN } = await import("/static/js/log/sgr.js");
          const row = (pieces) =>
            lineRow({ lines: new Shown(pieces).lines(Infinity), number: 1, href: null, time: "" });
          const many = Array.from({ length: 300_000 }, () => ({ text: "x", style: PLAIN }));
          const coloured = pieces("\\x1b[31mx\\x1b[32my".repeat(100_000), PLAIN);
          const shown = [row(many), row(coloured)].map((one) => one.querySelector(".text"));
          return shown.map((one) => [one.textContent.length, one.childNodes.length]);
        }"""
    )
    assert [length for length, _ in made] == [300_000, 200_000]
    assert all(count < 10_000 for _, count in made)


async def test_a_row_that_fails_costs_no_other_row(page: Page, server: Server):
    await page.goto(server.url)
    made = await page.evaluate(
        """async () => {
          const { Drawn } = await import("/static/js/log/drawn.js");
          const chunk = { offsetOf: (index) => index };
          const layer = document.createElement("div");
          let broken = true;
          const drawn = new Drawn(layer, (_, index, part, old) => {
            if (index === 1 && broken) throw new Error("broken");
            return old ?? Object.assign(document.createElement("p"), { textContent: index });
          });
          const wanted = [0, 1, 2].map((index) => [chunk, index, 0]);
          let failed = false;
          try { drawn.show(wanted); } catch { failed = true; }
          broken = false;
          drawn.show(wanted);
          drawn.show(wanted.slice(1));
          return [failed, layer.textContent];
        }"""
    )
    assert made == [True, "12"]


async def test_what_was_split_in_the_browser_has_the_style_before_it(page: Page, server: Server):
    await page.goto(server.url)
    made = await page.evaluate(
        """async () => {
          const { Chunks } = await import("/static/js/log/chunks.js");
          const encoder = new TextEncoder();
          const part = encoder.encode("x".repeat(65_535) + "\\n");
          const more = encoder.encode("y".repeat(99) + "\\n");
          const map = { points: [[0, 0], [65_536, 1], [131_072, 2]], size: 196_608, lines: 3 };
          // The page was opened at the top: what is written is not after a chunk that is held.
          const chunks = new Chunks({ range: async () => part }, map);
          for (let at = 0; at < 1400; at++) chunks.append(more);
          const styles = () => chunks.points.map(({ style }) => style?.fg ?? null);
          const count = chunks.count;
          chunks.know([[65_536, "33"], [262_144, "34"]], 100_000);
          const first = styles();
          chunks.know([[65_536, "33"], [262_200, "34"]], 300_000);
          return [count, first, styles()];
        }"""
    )
    count, first, second = made
    assert count >= 5
    assert first[:2] == [None, 3] and None not in first[1:]
    assert second[:3] == [None, 3, 3] and None not in second[1:]


async def test_the_place_of_a_line_is_found_in_few_steps(page: Page, server: Server):
    await page.goto(server.url)
    steps, top, last, beyond = await page.evaluate(
        """async () => {
          const { Layout } = await import("/static/js/log/layout.js");
          const { Folds } = await import("/static/js/log/folds.js");
          const { Chunks } = await import("/static/js/log/chunks.js");
          const data = new TextEncoder().encode("y\\n".repeat(30_000));
          const map = { points: [[0, 0]], size: data.length, lines: 30_000 };
          const chunks = new Chunks({ range: async () => data }, map);
          await chunks.load(0);
          const layout = new Layout(chunks, new Folds());
          let steps = 0;
          const rows = layout.rows(chunks.get(0));
          const counted = { get: (list, place) => (steps++, list[place]) };
          layout.rows = () => ({ ...rows, indexes: new Proxy(rows.indexes, counted) });
          const top = layout.top(29_000);
          return [steps, top, layout.top(29_999), layout.top(30_000)];
        }"""
    )
    assert steps < 100
    assert (top, last, beyond) == (29_000 * 20, 29_999 * 20, 30_000 * 20)


async def test_a_line_that_is_left_out_is_shown_to_who_goes_to_it(page: Page, server: Server):
    await page.goto(server.url)
    made = await page.evaluate(
        """async () => {
          const { Folds } = await import("/static/js/log/folds.js");
          const folds = new Folds();
          folds.remove(3, 6);
          folds.settle();
          const hidden = () => [...Array(9).keys()].filter((line) => folds.isHidden(line));
          const before = hidden();
          folds.reveal(4);
          folds.remove(3, 6);
          folds.settle();
          return [before, hidden(), folds.shown(0, 9)];
        }"""
    )
    assert made == [[3, 4, 5, 6], [3, 5, 6], 6]


async def test_the_reason_at_the_end_of_a_failed_build_is_shown(page: Page, server: Server):
    job = server.run({"name": "ends", "steps": ["echo output", "exit 3"]})["job"]["id"]
    await page.goto(f"{server.url}/ui/jobs/{job}#L1")
    log = page.locator("#log")
    await expect(log).to_contain_text("=== Build failed: ")
    await expect(log).not_to_contain_text("=== Build completed ===")


async def test_one_outline_is_asked_for_again_after_several_failed(page: Page, server: Server):
    await page.goto(server.url)
    pending = await page.evaluate(
        """async () => {
          const { Viewer } = await import("/static/js/log/viewer.js");
          const timers = new Set();
          let last = 0;
          window.setTimeout = () => (timers.add(++last), last);
          window.clearTimeout = (timer) => timers.delete(timer);
          window.fetch = async () => { throw new Error("no answer"); };
          const viewer = { address: "/ui/jobs/1/log" };
          viewer.outline = Viewer.prototype.outline.bind(viewer);
          await Promise.all([1, 2, 3].map(() => viewer.outline()));
          await viewer.outline();
          return timers.size;
        }"""
    )
    assert pending == 1


async def test_a_long_line_that_is_still_written_announces_its_error(page: Page, server: Server):
    await page.goto(server.url)
    text = await page.evaluate(
        """async () => {
          const { Chunk } = await import("/static/js/log/chunk.js");
          const encoder = new TextEncoder();
          const chunk = new Chunk(encoder.encode("::error file=a::" + "y".repeat(5_000)), 0, 0);
          const texts = [chunk.shown(0).text];
          for (const more of ["z", "\\n"]) {
            chunk.append(encoder.encode(more));
            texts.push(chunk.shown(0).text);
          }
          return texts.map((text) => [text.slice(0, 8), text.length]);
        }"""
    )
    assert text == [["Error: y", 5_007], ["Error: y", 5_008], ["Error: y", 5_008]]


async def test_only_the_main_button_selects_until_it_is_let_go_or_out_of_sight(page: Page, server: Server):
    await page.goto(server.url)
    made = await page.evaluate(
        """async () => {
          const { Selecting } = await import("/static/js/log/selection.js");
          const element = document.body.appendChild(document.createElement("div"));
          const inside = element.appendChild(document.createElement("p"));
          const watch = new Selecting(element, () => {});
          const press = (button) => {
            inside.dispatchEvent(new PointerEvent("pointerdown", { button, bubbles: true }));
            return watch.selecting;
          };
          const pressed = [press(2), press(0)];
          for (const name of ["contextmenu", "blur"]) {
            press(0);
            window.dispatchEvent(new Event(name));
            pressed.push(watch.selecting);
          }
          return pressed;
        }"""
    )
    assert made == [False, True, False, False]
