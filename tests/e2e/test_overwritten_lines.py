"""Lines that write over themselves, in the browser: every row can be seen, as high as it is drawn."""

from __future__ import annotations

import base64
import random
import re

import pytest
from playwright.async_api import Page, expect

from tests.e2e.test_log_viewer import ended, in_sight, opened, shows
from tests.support.gates import let_go, waiting
from tests.support.server import Server

CURL = (
    "for i in $(seq 0 100); do printf "
    r"'\r%3d  512M  %3d  5243k    0     0  5120k      0  0:01:40  0:00:%02d  0:01:00 5242k' "
    "$i $i $((i % 60)); done; echo; for i in $(seq 1 40); do echo file $i; done"
)
LAST = "100  512M  100  5243k    0     0  5120k      0  0:01:40  0:00:40  0:01:00 5242k"
FILES = [f"file {number}" for number in range(1, 41)]

# Looks at what is painted, line by line of the viewport, and at the boxes of the rows.
LOOK = """async (top) => {
  const view = document.querySelector('#log .output');
  if (top !== null) view.scrollTop = top;
  for (let frame = 0; frame < 3; frame++) await new Promise(requestAnimationFrame);
  const box = view.getBoundingClientRect();
  const rows = [...view.querySelectorAll('.row')];
  const faults = [];
  rows.forEach((row, at) => {
    const [own, next] = [row.getBoundingClientRect(), rows[at + 1]?.getBoundingClientRect()];
    if (own.height % 20) faults.push(`a row is ${own.height} px high`);
    if (next && Math.abs(next.top - own.bottom) > 0.5) faults.push('rows are apart');
  });
  const height = view.querySelector('.spacer').offsetHeight;
  const end = Math.min(box.top + Math.min(view.clientHeight, height - view.scrollTop), innerHeight);
  for (let y = box.top + 1; y < end; y += 10) {
    const painted = document.elementFromPoint(box.left + 40, y);
    if (!painted?.closest('#log .row, #log .stuck')) faults.push(`nothing at ${y - box.top}`);
  }
  const place = (row) => Math.round(row.getBoundingClientRect().top - box.top + view.scrollTop);
  const text = (row) => row.querySelector('.text')?.textContent ?? '';
  return { faults, height, view: view.clientHeight,
           rows: rows.map((row) => [place(row), row.offsetHeight, text(row)]) };
}"""


async def looked_through(page: Page) -> list[str]:
    """The texts of all rows, from top to bottom; each is painted once, and together they fill the log."""
    found: dict[int, tuple[int, str]] = {}
    top = height = 0
    while top <= height:
        await page.locator("#log .output").scroll_into_view_if_needed()
        seen = await page.evaluate(LOOK, top)
        for _ in range(100):  # what is in sight may have to be fetched
            if not seen["faults"]:
                break
            await page.wait_for_timeout(100)
            seen = await page.evaluate(LOOK, None)
        assert seen["faults"] == []
        for place, tall, text in seen["rows"]:
            assert found.setdefault(place, (tall, text)) == (tall, text)
        height = seen["height"]
        top += seen["view"] - 40
    places = sorted(found)
    ends = [place + found[place][0] for place in places]
    assert places == [0, *ends[:-1]]
    assert ends[-1] == height
    return [found[place][1] for place in places]


def printed(lines: list[bytes]) -> str:
    """A step that prints just these lines."""
    return f"echo {base64.b64encode(b''.join(line + bytes([10]) for line in lines)).decode()} | base64 -d"


@pytest.mark.parametrize("width", [1280, 390])
async def test_progress_bar_leaves_every_row_in_sight(page: Page, server: Server, width: int):
    await page.set_viewport_size({"width": width, "height": 900})
    job = server.run({"name": "curl", "steps": [CURL]})["job"]["id"]
    await opened(page, server, job)
    texts = await looked_through(page)
    assert texts[1:42] == [LAST, *FILES]
    await page.goto(f"{server.url}/ui/jobs/{job}#step:1:30")
    await expect(page.locator("#log .row.marked")).to_be_in_viewport()
    assert "file 29" in await in_sight(page)
    await page.keyboard.press("/")
    await page.keyboard.type("file 17")
    await expect(page.locator("#log output")).to_have_text("1 of 1")
    assert "file 17" in await in_sight(page)


async def test_progress_bar_of_a_running_build_leaves_every_row_in_sight(page: Page, server: Server):
    steps = [f"{waiting('begin')}; {CURL}; {waiting('end')}"]
    job = server.start_job({"name": "curl", "steps": steps})
    server.wait_output(job, "=== Step 1")
    await opened(page, server, job)
    let_go(server, job, "begin")
    await shows(page, "file 40")
    await page.evaluate("document.querySelector('#log .output').scrollTop = 0")
    assert (await looked_through(page))[1:42] == [LAST, *FILES]
    let_go(server, job, "end")


async def test_spinner_stays_one_row_however_often_it_turns(page: Page, server: Server):
    spin = r"i=0; while [ $i -lt 20000 ]; do i=$((i+1)); printf '\r\033[K\033[32m[|]\033[0m turn %d' $i; done"
    job = server.start_job(
        {"name": "spinner", "steps": [f"echo before; {spin}; {waiting()}; echo; echo after"]}
    )
    server.wait_output(job, "before")
    await opened(page, server, job)
    await shows(page, "[|] turn 20000")
    assert len(await looked_through(page)) == 3
    let_go(server, job)
    await ended(page)
    texts = await looked_through(page)
    assert texts[1:4] == ["before", "[|] turn 20000", "after"]
    await page.reload()
    await shows(page, "after")
    assert await looked_through(page) == texts


async def test_what_is_erased_or_written_over_is_not_shown(page: Page, server: Server):
    wide = b"x" * 6000
    lines = {
        b"old\x1b[2K\rnew": "new",
        b"abcdef\x1b[3GX\x1b[K": "abX",
        b"abc\b\bX": "aXc",
        b"abcdef\x1b[3D\x1b[1KX": "   Xef",
        b"windows\r": "windows",
        wide + b"\r\x1b[Kshort": "short",
        wide + b"\x1b[2K\rshort": "short",
    }
    job = server.run({"name": "erased", "steps": [printed(list(lines))]})["job"]["id"]
    await opened(page, server, job)
    assert (await looked_through(page))[1 : len(lines) + 1] == list(lines.values())


ATOMS = [
    *(
        text.encode()
        for text in ("a", "words of a build ", "\t", "漢字", "e\u0301", "😀", "\u2028", "\x85", "\u202e", "→")
    ),
    *(
        b"\r",
        b"\b\b",
        b"\x1b[K",
        b"\x1b[1K",
        b"\x1b[2K",
        b"\x1b[9G",
        b"\x1b[30C",
        b"\x1b[200D",
        b"\x1b[1;31m",
        b"\x1b[m",
    ),
    *(
        b"\x1b]8;;https://example.com/a/long/one\x1b\\",
        b"\x1b]8;;\x07",
        b"\x1b",
        b"\0",
        b"\xff",
        b"\x80" * 5000,
        b"y" * 4090,
    ),
    *(b"https://example.com/?q=1 ", b"\x1b[38;2;1;2;3m" * 300),
]


@pytest.mark.parametrize("width", [1280, 390])
async def test_rows_of_any_lines_are_as_high_as_they_are_drawn(page: Page, server: Server, width: int):
    chance = random.Random(width)
    lines = [b"".join(chance.choices(ATOMS, k=chance.randrange(30))) for _ in range(30)]
    lines[0:0] = [b"::group::" + b"a long title " * 600, b"inside", b"::endgroup::"]
    job = server.run({"name": "any", "steps": [printed(lines)]})["job"]["id"]
    await page.set_viewport_size({"width": width, "height": 900})
    await opened(page, server, job)
    await expect(page.locator("#log .row.group")).to_have_count(1)
    await looked_through(page)
    await page.keyboard.press("t")
    await looked_through(page)
    await page.keyboard.press("z")
    await looked_through(page)


async def test_hostile_long_lines_are_shown(page: Page, server: Server):
    kinds = [
        r"\r",
        r"x\r",
        r"\b",
        r"\033",
        r"\033[",
        r"\033[0",
        r"\033]",
        r"\033[9999Gx\033[1K\r",
        r"\033[2Kx",
        r"\200",
    ]
    double = "cat k k > l; mv l k"
    fill = f'printf "$1" > k; while [ $(wc -c < k) -lt 250000 ]; do {double}; done'
    script = "\n".join(f"set -- '{kind}'; {fill}; cat k; echo" for kind in [*kinds, "http://.", r"\0", "漢"])
    job = server.run({"name": "hostile", "steps": [f"{script}\necho after"]})["job"]["id"]
    await opened(page, server, job)
    await page.keyboard.press("f")
    await shows(page, "after")
    for place in range(1, len(kinds) + 4):
        await page.evaluate("(place) => { location.hash = `#step:1:${place}` }", place)
        await expect(page.locator("#log .row.marked").first).to_be_in_viewport()


async def test_wrapped_lines_are_copied_in_one_piece(page: Page, server: Server):
    text = "word " * 100 + "end"
    job = server.run({"name": "copied", "steps": [f"echo '{text}'"]})["job"]["id"]
    await opened(page, server, job)
    await page.wait_for_load_state("networkidle")  # rows are made anew when the outline comes
    line = page.locator("#log .row .text").filter(has_text=re.compile("^word"))
    assert await line.locator(".line").count() > 1
    copied = await line.evaluate(
        "(text) => { getSelection().selectAllChildren(text); return getSelection().toString(); }"
    )
    assert copied == text
